# frozen_string_literal: true

# LITESTREAM_REPLICA_URL=s3://bucket/ratings puma -C puma.rb

require_relative "ratings"

run Ratings
