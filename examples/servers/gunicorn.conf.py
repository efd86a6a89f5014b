workers = 4


def post_fork(server, worker):
    # With --preload the module is loaded before the fork, so nothing may be opened while it is
    # loaded. Here it works with --preload and without.
    import ratings

    ratings.open_db()
