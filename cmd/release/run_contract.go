package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/config"
)

// contract runs the contract phase of the release that has the traffic. There is no way back behind it, so it asks first.
func (c *cli) contract(cmd *cobra.Command, app *config.App, a asked) error {
	if a.dryRun {
		return c.simple(cmd, a, "contract", nil)
	}
	question := fmt.Sprintf("Run the contract phase of %s/%s? Earlier releases cannot run on the database any more.", app.App, app.Env)
	if err := c.confirm(question); err != nil {
		return err
	}
	return c.simple(cmd, a, "contract", nil)
}

// checkedSQL refuses SQL files of the app's migrations that break the release which runs.
func (c *cli) checkedSQL() error {
	app, err := c.app()
	if err != nil {
		return err
	}
	_, problems := checkSQL(app)
	return problems.Err()
}
