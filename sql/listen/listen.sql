-- Listens on a channel.
listen /*channel*/
