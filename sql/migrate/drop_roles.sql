-- The roles are shared by all databases of the server: this fails while another database still gives them rights.
drop role if exists outbox_producer, outbox_worker, outbox_relay, outbox_reader;
