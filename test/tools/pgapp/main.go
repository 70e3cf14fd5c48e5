// Command pgapp is an app with a database, for tests of migrations:
//
//	pgapp serve        answers each GET / by writing a row and reading it again, in the column that $COLUMN names
//	pgapp sql FILE...  runs the files, each in a transaction
//
// The database is $DATABASE_URL. While $SLOW is set, sql waits that long before each file.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) > 1 && args[0] == "sql":
		return migrate(ctx, args[1:])
	}
	return fmt.Errorf("usage: pgapp serve | pgapp sql FILE")
}

func migrate(ctx context.Context, files []string) error {
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	slow, _ := time.ParseDuration(os.Getenv("SLOW")) // "" is none
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Println("running", file)
		time.Sleep(slow)
		if _, err := conn.Exec(ctx, "BEGIN;"+string(text)+";COMMIT"); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func serve(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	column := pgx.Identifier{os.Getenv("COLUMN")}.Sanitize()
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := pool.Ping(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var id int
		var text string
		err := pool.QueryRow(r.Context(), "insert into orders ("+column+") values ('one') returning id").Scan(&id)
		if err == nil {
			err = pool.QueryRow(r.Context(), "select "+column+" from orders where id = $1", id).Scan(&text)
		}
		if err != nil {
			fmt.Println(err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Column", os.Getenv("COLUMN"))
		fmt.Fprintln(w, text)
	})
	return http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
