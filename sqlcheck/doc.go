// Package sqlcheck reads the SQL files of migrations and finds statements that break a release which runs meanwhile: they
// take away or rename what it uses, refuse what it writes, or keep it waiting behind a lock for as long as a table is large.
//
// It knows PostgreSQL (from version 12) and MySQL (InnoDB, from version 8), and no database is asked: what a statement does to a
// table is told from its words. So what stands in functions, and what a program makes up at run time, is not seen; where a
// file runs such text by itself there is a finding that says so. Tables that are created in the same file are nobody's yet, and what is
// done to them is no finding.
//
// # How files are read
//
// As the client programs psql and mysql read them: comments (nested ones in PostgreSQL, executable ones in MySQL), strings with and
// without backslash escapes, dollar quotes, quoted names, DELIMITER, the data after COPY … FROM stdin, BEGIN ATOMIC … END, and
// BEGIN … END of MySQL's stored programs. Of goose, sql-migrate and dbmate the parts for the way back are passed over. What
// cannot be read to its end is a finding too, so that nothing is passed over silently.
//
// # Accepting a finding
//
// A comment in the statement, before it, or behind it on its last line, accepts one finding of a rule in that statement:
//
//	-- release: accept drop-column: nobody reads it since r6
//
// The reason is part of it. A comment that accepts nothing is a finding, so that none outlives its statement.
//
// Sources: PostgreSQL's documentation of ALTER TABLE, CREATE INDEX and explicit locking, MySQL's of online DDL operations. Tests
// hold what is said of PostgreSQL against a real server.
package sqlcheck
