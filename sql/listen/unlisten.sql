-- Stops listening on a channel.
unlisten /*channel*/
