package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// freezeResult is the result of freeze and unfreeze.
type freezeResult struct {
	api.Head
	App    string      `json:"app"`
	Env    string      `json:"env"`
	Freeze *api.Freeze `json:"freeze"` // null: the app is not frozen
}

func (c *cli) freezeVerb() *cobra.Command {
	var reason, until string
	var dry bool
	cmd := &cobra.Command{
		Use:   "freeze",
		Short: "Let nobody begin an operation, until a time or unfreeze",
		Long: `launch, cutover, up and destroy are refused (exit code 5) with who froze the app, why and until when. What is
under way goes on and may be steered; rollback, replacement and scaling are always possible.`,
		Example: `  release freeze --reason "Black Friday" --until 2026-11-30
  release freeze --reason "ann looks at the database" --until 2h`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			word := api.Steer{Verb: "freeze", Reason: strings.TrimSpace(reason)}
			if word.Reason == "" {
				return fault.New(fault.Invalid, "freeze: --reason is missing").WithHint("others are shown it: release freeze --reason TEXT")
			}
			if until != "" {
				var err error
				if word.Until, err = momentAfter(time.Now(), until); err != nil {
					return err
				}
			}
			if dry {
				return c.wouldSay(cmd, word)
			}
			return c.say(cmd, word)
		},
	}
	dryRunFlag(cmd, &dry)
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that is shown to whoever is refused")
	cmd.Flags().StringVar(&until, "until", "", "`time` at which it ends by itself: 2h, 18:00, 2026-11-30 or 2026-11-30T18:00 (default: release unfreeze)")
	return cmd
}

func (c *cli) unfreezeVerb() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "unfreeze", Short: "End a freeze", Example: "  release unfreeze", Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return c.wouldSay(cmd, api.Steer{Verb: "unfreeze"})
			}
			return c.say(cmd, api.Steer{Verb: "unfreeze"})
		},
	}
	dryRunFlag(cmd, &dry)
	return cmd
}

// say says a word that needs no operation under way, and shows what came of it.
func (c *cli) say(cmd *cobra.Command, word api.Steer) error {
	app, client, err := c.appAndAgent(cmd.Context())
	if err != nil {
		return err
	}
	word.By = c.who()
	done, err := client.Steer(cmd.Context(), appOf(app), word)
	if err != nil {
		return err
	}
	r := freezeResult{Head: api.NewHead(nil), App: app.App, Env: app.Env}
	if status, err := client.Status(cmd.Context(), appOf(app)); err == nil {
		r.Freeze = status.Freeze
	} else if !fault.Is(err, fault.NotFound) {
		return err
	}
	return c.out.result(r, func(w io.Writer) {
		if len(done.Done) == 0 {
			done.Done = []string{"it is not frozen"}
		}
		fmt.Fprintf(w, "%s/%s: %s\n", app.App, app.Env, strings.Join(done.Done, "; "))
	})
}

// momentAfter reads a time to come: a span from now, a time of day (the next), a date, or both.
func momentAfter(now time.Time, text string) (time.Time, error) {
	if span, err := time.ParseDuration(text); err == nil && span > 0 {
		return now.Add(span), nil
	}
	if at, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		at = time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = at.AddDate(0, 0, 1)
		}
		return at, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		at, err := time.ParseInLocation(form, text, now.Location())
		switch {
		case err != nil:
		case !at.After(now):
			return at, fault.New(fault.Invalid, "read --until %q: that time is over", text)
		default:
			return at, nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "read --until %q: neither a span such as 2h nor a time such as 18:00 or 2026-11-30T18:00", text)
}

// frozenText is a freeze in one line.
func frozenText(f *api.Freeze) string {
	until := "until release unfreeze"
	if !f.Until.IsZero() {
		until = "until " + f.Until.Local().Format("2006-01-02 15:04")
	}
	return fmt.Sprintf("frozen by %s since %s, %s: %s", f.By, f.At.Local().Format("2006-01-02 15:04"), until, harmless(f.Reason))
}

// freezeLine is the same with its colour.
func (o *output) freezeLine(f *api.Freeze) string {
	return strings.Replace(frozenText(f), "frozen", o.yellow("frozen"), 1)
}
