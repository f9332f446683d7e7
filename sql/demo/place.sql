-- One order; the program puts its numbers in place of the comments.
select place_order(/*number*/, /*fail*/, /*seconds*/)
