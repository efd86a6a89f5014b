"""The example replica, which Litestream wrote, against what its manifest says."""

import hashlib
import sqlite3

import litestream_vfs

from .support import MANIFEST, Case, one, points


class TestSandwiches(Case):
    def setUp(self):
        super().setUp()
        self.conn = self.connect(self.sandwiches())

    def check(self, txid):
        """Compare what the connection sees with the manifest."""
        point = points()[txid]
        self.assertEqual(one(self.conn, "PRAGMA litestream_txid"), txid)
        self.assertEqual(one(self.conn, "PRAGMA page_count"), point["commit"])
        self.assertEqual(one(self.conn, "PRAGMA integrity_check"), point["integrity_check"])
        for table, want in point["tables"].items():
            columns = [f'quote("{column[1]}")' for column in self.conn.execute(f"PRAGMA table_info({table})")]
            rows = self.conn.execute(f"SELECT {' || char(124) || '.join(columns)} FROM {table} ORDER BY rowid").fetchall()
            text = "".join(row[0] + "\n" for row in rows)
            found = {"rows": len(rows), "sha256": hashlib.sha256(text.encode()).hexdigest()}
            self.assertEqual(found, want, f"table {table} at {txid}")

    def test_newest(self):
        self.check(MANIFEST["txid"])
        average = "SELECT count(*), avg(stars) FROM sandwich_ratings"
        self.assertEqual(self.conn.execute(average).fetchall(), [(4988, 1.0)])

    def test_every_tenth_point(self):
        for txid in list(points())[::10]:
            self.assertEqual(one(self.conn, "SELECT litestream_set_txid(?)", [txid]), txid)
            self.check(txid)

    def test_times(self):
        for at in MANIFEST["times"]:
            with self.subTest(at["what"]):
                if at.get("at_or_before_txid"):
                    one(self.conn, "SELECT litestream_set_time(?)", [at["time"]])
                    self.assertEqual(one(self.conn, "PRAGMA litestream_txid"), at["at_or_before_txid"])
                    continue
                before = one(self.conn, "PRAGMA litestream_txid")
                with self.assertRaisesRegex(sqlite3.OperationalError, "transaction not available"):
                    one(self.conn, "SELECT litestream_set_time(?)", [at["time"]])
                self.assertRegex(litestream_vfs.last_error(self.conn), "transaction not available")
                self.assertEqual(one(self.conn, "PRAGMA litestream_txid"), before)

    def test_transactions_that_are_gone(self):
        gone = MANIFEST["unavailable_txids"]
        self.assertEqual(len(gone), 4)
        for txid in gone:
            with self.assertRaisesRegex(sqlite3.OperationalError, "transaction not available"):
                one(self.conn, "SELECT litestream_set_txid(?)", [txid])
