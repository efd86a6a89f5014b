# frozen_string_literal: true

workers 4
threads 1, 1 # a connection is for one thread at a time
preload_app!

# From Puma 7 on it is before_worker_boot.
on_worker_boot { Ratings.open }
