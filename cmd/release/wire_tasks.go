package main

import (
	"context"
	"io"
	"time"

	"github.com/bootandshoot/release/orchestrator"
)

func (l leading) RunTask(ctx context.Context, r orchestrator.TaskRequest) (orchestrator.Task, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Task{}, err
	}
	return o.RunTask(ctx, r)
}

func (l leading) StopTask(ctx context.Context, k orchestrator.Key, id, by string) error {
	o, err := l.now(ctx)
	if err != nil {
		return err
	}
	return o.StopTask(ctx, k, id, by)
}

func (l leading) Task(ctx context.Context, k orchestrator.Key, id string) (orchestrator.Task, error) {
	o, err := l.now(ctx)
	if err != nil {
		return orchestrator.Task{}, err
	}
	return o.Task(ctx, k, id)
}

func (l leading) Tasks(ctx context.Context, k orchestrator.Key, job string) ([]orchestrator.Task, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.Tasks(ctx, k, job)
}

func (l leading) TaskOutput(ctx context.Context, k orchestrator.Key, id string, since time.Time) (io.ReadCloser, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.TaskOutput(ctx, k, id, since)
}

func (l leading) MissingFiles(ctx context.Context, digests []string) ([]string, error) {
	o, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return o.MissingFiles(ctx, digests)
}

func (l leading) PutFile(ctx context.Context, digest string, r io.Reader) error {
	o, err := l.now(ctx)
	if err != nil {
		return err
	}
	return o.PutFile(ctx, digest, r)
}
