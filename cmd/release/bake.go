package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/dockerfile"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// bakeFlags are the flags of everything that bakes.
type bakeFlags struct {
	noCache, locked, offline bool
	platform, target         string
	format                   string
	compress                 bool
	given                    givenFlags
	sign                     string
	allow                    []string
	unsigned                 bool // nothing is baked that could be signed
}

func (b *bakeFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&b.noCache, "no-cache", false, "run every step again; verified downloads are kept")
	f.BoolVar(&b.locked, "locked", false, "fail when the lockfile does not pin all that the recipe names")
	f.BoolVar(&b.offline, "offline", false, "use no network")
	f.StringVar(&b.platform, "platform", "", "`os/arch` of the image (default: this machine's)")
	f.StringVar(&b.target, "target", "", "`forms` of the image: container, machine, or both with a comma (default: what the app's fleets boot)")
	_ = cmd.RegisterFlagCompletionFunc("target", cobra.FixedCompletions([]string{containerForm, machineForm, containerForm + "," + machineForm}, noFiles))
	f.StringArrayVar(&b.allow, "allow", nil, "of a Dockerfile's image, what is no secret, `PATH[:RULE]=REASON`; may be repeated")
	b.given.bind(cmd)
	signFlag(cmd, &b.sign)
}

// forPart chooses the forms that the fleets of a part of an app boot, where none is asked for.
func (b bakeFlags) forPart(app *config.App, p part) bakeFlags {
	if b.target != "" {
		return b
	}
	roles, forms := p.roles, []string(nil)
	if len(roles) == 0 {
		roles = []string{""}
	}
	for _, role := range roles {
		form := containerForm
		if driver := app.ForRole(role).Fleet.Driver; driver == qemuName || driver == ec2Name {
			form = machineForm
		}
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	slices.Sort(forms)
	b.target = strings.Join(forms, ",")
	return b
}

// The forms of images.
const (
	containerForm = "container"
	machineForm   = "machine"
)

func (b *bakeFlags) check() error {
	if b.target == "" {
		b.target = containerForm
	}
	for target := range strings.SplitSeq(b.target, ",") {
		if target != containerForm && target != machineForm {
			return fault.New(fault.Invalid, "read --target: %q is none of container, machine", target)
		}
	}
	if b.machine() == nil && (b.compress || b.format != "" && b.format != images.DiskRaw) {
		return fault.New(fault.Invalid, "bake: --format and --compress are of a machine's disk").WithHint("--target machine")
	}
	return nil
}

// machine is how the machine is made; nil for a container alone.
func (b *bakeFlags) machine() *builder.Machine {
	if !b.has(machineForm) {
		return nil
	}
	return &builder.Machine{Format: b.format, Compress: b.compress}
}

func (b *bakeFlags) has(target string) bool {
	return slices.Contains(strings.Split(b.target, ","), target)
}

func (c *cli) bakeVerb() *cobra.Command {
	var b bakeFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "bake [RECIPE]",
		Short: "Make an image from a recipe",
		Long: `Makes an OCI image in the local store, without a daemon. The same recipe, lockfile and files give the same
digest on any machine. Without RECIPE the app's recipe is baked under the app's name; with one no release.yaml is needed.

The tests of the recipe run before the image is listed. RECIPE may also be a Dockerfile, which the Docker engine builds.`,
		Example: `  release bake
  release bake recipes/shop.yaml --no-cache
  release bake ./Dockerfile
  release bake --check              bake twice and name the paths that differ`,
		Args: between(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if app, several := c.severalRecipes(args); several && !check {
				return c.bakeApp(cmd.Context(), b, app)
			}
			if path, name, ok := c.dockerfileOf(args); ok {
				return c.bakeDockerfile(cmd.Context(), b, check, path, name)
			}
			b.unsigned = check && b.sign == ""
			o, done, err := c.bakeOptions(b, args)
			if done || err != nil {
				return err
			}
			if app, err := c.app(); len(args) == 0 && err == nil {
				o.Health = healthOf(app, partsOf(app)[0])
			}
			if check {
				return c.checkBake(cmd.Context(), o)
			}
			res, err := c.bake(cmd.Context(), o)
			if err != nil {
				return err
			}
			return c.out.result(bakeResult(res), func(w io.Writer) { fmt.Fprintln(w, res.Image) })
		},
	}
	b.bind(cmd)
	cmd.Flags().StringVar(&b.format, "format", images.DiskRaw, "`form` of a machine's disk: raw or qcow2")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{images.DiskRaw, images.DiskQCOW2}, noFiles))
	cmd.Flags().BoolVar(&b.compress, "compress", false, "compress a machine's qcow2")
	cmd.Flags().BoolVar(&check, "check", false, "bake twice without cache and name the paths that differ")
	return cmd
}

// bakeOptions finds what to bake. done says that the work was done in a user namespace.
func (c *cli) bakeOptions(b bakeFlags, args []string) (o builder.Options, done bool, err error) {
	path, name, err := c.recipeAndName(args)
	if err != nil {
		return o, false, err
	}
	if app, err := c.app(); len(args) == 0 && err == nil {
		b = b.forPart(app, partsOf(app)[0])
	}
	return c.bakeOptionsOf(b, path, name)
}

// bakeOptionsOf is that for a recipe that is found, whose image is listed under a name.
func (c *cli) bakeOptionsOf(b bakeFlags, path, name string) (o builder.Options, done bool, err error) {
	if err := b.check(); err != nil {
		return o, false, err
	}
	if dockerfile.Is(path) {
		return o, false, noDockerfile(path, "locked: it has no lockfile")
	}
	if len(b.allow) > 0 {
		return o, false, fault.New(fault.Invalid, "bake %s: --allow is for Dockerfiles", relative(path)).
			WithHint("write it into the recipe, where others see it: allow: [{path: …, rule: …, reason: …}]")
	}
	recipe, err := recipes.Load(path)
	if err != nil {
		return o, false, err
	}
	if builder.NeedsRoot(recipe) {
		if done, err := c.enterNamespace(); done || err != nil {
			return o, done, err
		}
	}
	store, err := c.store()
	if err != nil {
		return o, false, err
	}
	epoch, err := c.sourceDate()
	if err != nil {
		return o, false, err
	}
	vars, err := b.given.values()
	if err != nil {
		return o, false, err
	}
	var key *signature.PrivateKey
	if !b.unsigned {
		if key, err = c.signingKey(b.sign); err != nil {
			return o, false, err
		}
	}
	secrets, err := b.given.secretValues(recipe, c.env, c.out.note)
	return builder.Options{
		Recipe: recipe, Store: store, Name: name, NoCache: b.noCache, Locked: b.locked, Offline: b.offline,
		Platform: b.platform, Machine: b.machine(), MachineOnly: !b.has(containerForm), SourceDateEpoch: epoch, Vars: vars, Secrets: secrets,
		Sign: key, Builder: c.getenv(builderVariable), Version: programVersion(),
	}, false, err
}

// recipeAndName is the recipe's file and the image's name: those of the app, or the file given and the recipe's own name.
func (c *cli) recipeAndName(args []string) (path, name string, err error) {
	if len(args) > 0 {
		return args[0], "", nil
	}
	app, err := c.app()
	if err != nil {
		return "", "", err
	}
	first := partsOf(app)[0]
	path, err = first.path(app)
	return path, first.name, err
}

// healthOf is how a part of an app shows that it is well, as far as a machine in its boot test can be asked; nil for otherwise.
func healthOf(app *config.App, p part) *builder.Health {
	role := ""
	if len(p.roles) > 0 {
		role = p.roles[0]
	}
	h := app.ForRole(role).Health.HTTP
	if h == nil {
		return nil
	}
	return &builder.Health{Path: h.Path, Port: h.Port, Status: h.Status}
}

// severalRecipes is the app when it has more than one recipe and none is named.
func (c *cli) severalRecipes(args []string) (*config.App, bool) {
	if len(args) > 0 {
		return nil, false
	}
	app, err := c.app()
	return app, err == nil && len(partsOf(app)) > 1
}

// sourceDate reads SOURCE_DATE_EPOCH.
func (c *cli) sourceDate() (*int64, error) {
	text := c.getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil || epoch < 0 {
		return nil, fault.New(fault.Invalid, "read SOURCE_DATE_EPOCH=%q: not a number of seconds since 1970", text)
	}
	return &epoch, nil
}

// bake runs the bake with a view of its steps.
func (c *cli) bake(ctx context.Context, o builder.Options) (builder.Result, error) {
	v := c.out.newBakeView()
	var at bakePlace
	o.Progress = func(e builder.Event) { at.event(e); v.event(e) }
	res, err := builder.Bake(ctx, o)
	v.close()
	if err != nil {
		return res, at.ended(ctx, err)
	}
	c.tellBaked(res)
	c.limitCache(ctx, o.Store)
	return res, nil
}

// bakePlace is where a bake is: what a person is told who ends it.
type bakePlace struct {
	mu   sync.Mutex
	step string
}

func (p *bakePlace) event(e builder.Event) {
	if e.Kind != builder.Started {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = e.Step
}

// ended is the error of a bake. One that a signal ended has no fault in its recipe.
func (p *bakePlace) ended(ctx context.Context, err error) error {
	cause := fault.All(context.Cause(ctx))
	if len(cause) == 0 || cause[0].Code != fault.Interrupted || !errors.Is(err, context.Canceled) && !fault.Is(err, fault.Interrupted) {
		return ended(ctx, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	where := ""
	if p.step != "" {
		where = ", in step " + p.step
	}
	return fault.New(fault.Interrupted, "%s%s; the next bake goes on from there", cause[0].Message, where)
}

// tellBaked says in a line what a bake made.
func (c *cli) tellBaked(res builder.Result) {
	how := "baked"
	if res.Cached {
		how = "nothing changed"
	}
	c.out.progress("%s: %s, %s, in %s", res.Name, how, shortDigest(string(res.Image)), span(seconds(res.Seconds)))
	if !res.Reproducible {
		c.out.note("%s a step uses the network: another bake may give another digest", c.out.yellow("note:"))
	}
}

func bakeResult(res builder.Result) api.BakeResult {
	r := api.BakeResult{
		Head: api.NewHead(nil), Image: string(res.Image), Name: res.Name, Cached: res.Cached, Reproducible: res.Reproducible,
		Seconds: res.Seconds, Steps: []api.BakeStep{}, Tests: []api.BakeTest{},
	}
	for _, s := range res.Steps {
		r.Steps = append(r.Steps, api.BakeStep{Name: s.Name, Cached: s.Cached, Seconds: s.Seconds, Bytes: s.Bytes})
	}
	for _, t := range res.Tests {
		r.Tests = append(r.Tests, api.BakeTest{Name: t.Name, Cached: t.Cached, Seconds: t.Seconds})
	}
	return r
}

// checkBake bakes twice and shows what differs.
func (c *cli) checkBake(ctx context.Context, o builder.Options) error {
	v := c.out.newBakeView()
	o.Progress = v.event
	diffs, err := builder.Check(ctx, o)
	v.close()
	if err != nil {
		return ended(ctx, err)
	}
	r := api.BakeResult{Head: api.NewHead(nil), Reproducible: len(diffs) == 0, Steps: []api.BakeStep{}, Tests: []api.BakeTest{}}
	for _, d := range diffs {
		r.Differences = append(r.Differences, fmt.Sprint(d))
	}
	if len(diffs) == 0 {
		same := "the same image"
		if o.Machine != nil {
			same += " and the same disk"
		}
		return c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, "two bakes gave "+same) })
	}
	err = fault.New(fault.Failed, "check bake of %s: two bakes differ in %d paths", relative(o.Recipe.Path), len(diffs)).
		WithHint("find the step that writes them; clocks, random names and the network are the usual reasons")
	r.Head = api.NewHead(err)
	if writeErr := c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, strings.Join(r.Differences, "\n")) }); writeErr != nil {
		return writeErr
	}
	return err
}

// bakeAndLaunch is up without an image.
func (c *cli) bakeAndLaunch(ctx context.Context, a asked, b bakeFlags) error {
	app, err := c.app()
	if err != nil {
		return err
	}
	if app.Promote != "" {
		return fault.New(fault.Invalid, "up %s/%s: it takes the images that serve in %s and never bakes its own", app.App, app.Env, app.Promote).
			WithHint("release promote -e %s; or name an image: release up IMAGE", app.Env)
	}
	if err := c.worthBaking(ctx, a, app); err != nil {
		return err
	}
	set, _, done, err := c.bakeParts(ctx, b, app)
	if done || err != nil {
		return err
	}
	return c.start(ctx, a, "up", app, set)
}

// worthBaking says beforehand why what is baked could not be launched: a recipe that says nothing to run, or a freeze. With an
// operation under way it may attach to that.
func (c *cli) worthBaking(ctx context.Context, a asked, app *config.App) error {
	for _, p := range partsOf(app) {
		path, err := p.path(app)
		if err != nil || dockerfile.Is(path) {
			continue // the bake says it
		}
		if r, err := recipes.Load(path); err == nil {
			if err := p.runsNothing(app, r).Err(); err != nil {
				return err
			}
		}
	}
	if a.plans || a.request.Wait {
		return nil
	}
	client, _, err := c.reach(ctx)
	if err != nil {
		return nil // it is started later, and asked then
	}
	status, err := client.Status(ctx, appOf(app))
	if err != nil || status.Freeze == nil || status.Operation != nil {
		return nil
	}
	return fault.New(fault.Busy, "up %s/%s: %s", app.App, app.Env, frozenText(status.Freeze)).
		WithHint("release unfreeze ends it; rollback, scale and replace are possible meanwhile")
}
