package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) imagesVerb() *cobra.Command {
	return c.group("images", "List, compare, look into, move and remove images",
		c.imagesLs(), c.imagesInspect(), c.imagesDiff(), c.imagesTree(), c.imagesCat(), c.imagesShell(), c.imagesBoot(), c.imagesSBOM(), c.imagesProvenance(), c.imagesKeygen(), c.imagesSign(), c.imagesVerify(), c.imagesPush(), c.imagesPull(), c.imagesExport(), c.imagesRm(), c.imagesGC())
}

func (c *cli) imagesLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls [NAME]", Short: "List the images of the local store, the newest first", Example: "  release images ls --json",
		Args: between(0, 1, ""), ValidArgsFunction: c.completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := c.store()
			if err != nil {
				return err
			}
			list, err := store.List()
			if err != nil {
				return err
			}
			r := api.ImagesResult{Head: api.NewHead(nil), Images: []api.ImageInfo{}}
			for _, i := range list {
				if len(args) == 0 || i.Name == args[0] {
					r.Images = append(r.Images, api.ImageInfo{
						Image: string(i.Digest), Name: i.Name, Created: i.Created, Size: i.Size, Layers: i.Layers, Pinned: len(i.Pinned) > 0, Targets: targetsOf(i.Machine),
					})
				}
			}
			return c.out.result(r, func(w io.Writer) { listImages(w, r.Images) })
		},
	}
}

func listImages(w io.Writer, list []api.ImageInfo) {
	var t table
	t.row(plain("IMAGE"), plain("NAME"), plain("SIZE"), plain("LAYERS"), plain("CREATED"), plain("IN USE"), plain("TARGETS"))
	for _, i := range list {
		used := ""
		if i.Pinned {
			used = "yes"
		}
		t.row(plain(shortDigest(i.Image)), plain(i.Name), plain(size(i.Size)), plain(fmt.Sprint(i.Layers)),
			plain(i.Created.Local().Format(time.DateTime)), plain(used), plain(strings.Join(i.Targets, ", ")))
	}
	fmt.Fprintln(w, strings.Join(t.lines(""), "\n"))
}

// targetsOf are the forms that an image has.
func targetsOf(machine bool) []string {
	if machine {
		return []string{"container", "machine"}
	}
	return []string{"container"}
}

// imageDetails is the result of images inspect.
type imageDetails struct {
	api.Head
	Image       string            `json:"image"`
	Names       []string          `json:"names"`            // that mean this image, or meant it before a newer one
	Created     time.Time         `json:"created,omitzero"` // when it was put into this store
	Platform    string            `json:"platform"`
	Command     []string          `json:"command"`
	Ports       []int             `json:"ports"`
	User        string            `json:"user"`
	Workdir     string            `json:"workdir"`
	Env         []string          `json:"env"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Layers      []layerDetails    `json:"layers"`
	Targets     []string          `json:"targets"`           // container, machine
	Machine     *images.Machine   `json:"machine,omitempty"` // its other form
}

type layerDetails struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	CreatedBy string `json:"created_by"`
}

func (c *cli) imagesInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect IMAGE", Aliases: []string{"show"}, Short: "Show an image's configuration and layers", Example: "  release images inspect shop",
		Args: between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			img, err := store.Get(digest)
			if err != nil {
				return err
			}
			d := detailsOf(digest, img)
			if img.IsMachine() {
				m, err := store.Machine(digest)
				if err != nil && !fault.Is(err, fault.NotFound) {
					return err
				}
				if err == nil { // else it was pulled without
					d.Machine = &m
				}
			}
			if d.Names, d.Created, err = listedAs(store, digest); err != nil {
				return err
			}
			return c.out.result(d, func(w io.Writer) {
				enc := json.NewEncoder(w)
				enc.SetIndent("", "  ")
				_ = enc.Encode(struct {
					imageDetails
					Type   string `json:"type,omitempty"` // hides those of the embedded head
					Schema string `json:"schema,omitempty"`
				}{imageDetails: d})
			})
		},
	}
}

func detailsOf(digest images.Digest, img images.Image) imageDetails {
	cfg := img.Config.Config
	d := imageDetails{
		Head: api.NewHead(nil), Image: string(digest), Names: []string{}, Platform: img.Config.OS + "/" + img.Config.Architecture,
		Command: orEmpty(img.Command()), Ports: orEmpty(img.Ports()), User: cfg.User, Workdir: cfg.WorkingDir, Env: orEmpty(cfg.Env),
		Targets: targetsOf(img.IsMachine()), Labels: map[string]string{}, Annotations: map[string]string{}, Layers: []layerDetails{},
	}
	maps.Copy(d.Labels, cfg.Labels)
	maps.Copy(d.Annotations, img.Annotations)
	for _, l := range img.Layers {
		d.Layers = append(d.Layers, layerDetails{Digest: string(l.Digest), Size: l.Size, CreatedBy: l.CreatedBy})
	}
	return d
}

// orEmpty is a list that is [] in JSON when it is none, not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// listedAs is the names of an image, newest first, and when it came.
func listedAs(store *images.Store, d images.Digest) (names []string, created time.Time, err error) {
	names = []string{}
	list, err := store.List()
	for _, i := range list {
		if i.Digest != d {
			continue
		}
		created = i.Created
		if i.Name != "" {
			names = append(names, i.Name)
		}
	}
	return names, created, err
}

// openImage opens the store and finds an image in it.
func (c *cli) openImage(cmd *cobra.Command, ref string) (*images.Store, images.Digest, error) {
	digest, err := c.resolve(cmd.Context(), nil, ref)
	if err != nil {
		return nil, "", err
	}
	store, err := c.store()
	return store, images.Digest(digest), err
}

func (c *cli) imagesRm() *cobra.Command {
	var force, dry bool
	cmd := &cobra.Command{
		Use: "rm IMAGE...", Short: "Remove images and what only they use", Example: "  release images rm 4f1c9a",
		Args: between(1, -1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if done, err := c.enterNamespace(); done || err != nil {
				return err // unpacked files of an ordinary user belong to ids that only exist inside
			}
			r := api.ImagesResult{Head: api.NewHead(nil), DryRun: dry, Images: []api.ImageInfo{}}
			for _, ref := range args {
				store, digest, err := c.openImage(cmd, ref)
				if err != nil {
					return err
				}
				remove := store.Remove
				if dry {
					remove = store.MayRemove
				}
				if err := remove(cmd.Context(), digest, force); err != nil {
					return err
				}
				r.Images = append(r.Images, api.ImageInfo{Image: string(digest)})
			}
			return c.out.result(r, func(w io.Writer) {
				verb := "removed"
				if dry {
					fmt.Fprintln(w, c.out.yellow("dry run, nothing is done"))
					verb = "would remove"
				}
				for _, i := range r.Images {
					fmt.Fprintln(w, verb, i.Image)
				}
			})
		},
	}
	dryRunFlag(cmd, &dry)
	cmd.Flags().BoolVar(&force, "force", false, "also when a fleet uses it")
	return cmd
}

func (c *cli) imagesExport() *cobra.Command {
	var format, path, tag string
	cmd := &cobra.Command{
		Use: "export IMAGE", Short: "Write an image as an OCI layout or a docker archive",
		Example: `  release images export shop --format docker -o shop.tar && docker load -i shop.tar
  release images export r8 --format oci -o ./layout`,
		Args: between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			if tag == "" {
				tag = exportTag(args[0])
			}
			if err := c.export(cmd, store, digest, format, path, tag); err != nil {
				return err
			}
			if path == "-" {
				return nil
			}
			r := api.ImagesResult{Head: api.NewHead(nil), Images: []api.ImageInfo{{Image: string(digest)}}}
			return c.out.result(r, func(w io.Writer) { fmt.Fprintln(w, "wrote", path) })
		},
	}
	cmd.Flags().StringVar(&format, "format", "oci", "oci (a folder), oci-archive (a tar) or docker (a tar for docker load)")
	cmd.Flags().StringVarP(&path, "output", "o", "", "where to write; - is standard output, for the tars")
	cmd.Flags().StringVar(&tag, "tag", "", "`name:tag` inside a docker archive (default: the image's name, latest)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"oci", "oci-archive", "docker"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// exportTag names an image in a docker archive after the reference, where that is a name.
func exportTag(ref string) string {
	if strings.Trim(ref, "0123456789abcdef") == "" || strings.HasPrefix(ref, "sha256:") || releaseID.MatchString(ref) {
		return ""
	}
	return ref + ":latest"
}

func (c *cli) export(cmd *cobra.Command, store *images.Store, d images.Digest, format, path, tag string) error {
	ctx := cmd.Context()
	if path == "" {
		return fault.New(fault.Invalid, "release images export: --output is missing").WithHint("%s", cmd.UseLine())
	}
	if format == "oci" {
		if path == "-" {
			return fault.New(fault.Invalid, "release images export: an OCI layout is a folder").WithHint("--format oci-archive writes a tar")
		}
		return store.ExportOCI(ctx, d, path)
	}
	write := func(w io.Writer) error { return store.ExportDockerArchive(ctx, d, tag, w) }
	switch format {
	case "docker":
	case "oci-archive":
		write = func(w io.Writer) error { return store.ExportOCIArchive(ctx, d, w) }
	default:
		return fault.New(fault.Invalid, "read --format: %q is none of oci, oci-archive, docker", format)
	}
	if path == "-" {
		return write(c.out.stdout)
	}
	return writeFile(path, write)
}

// writeFile makes a file of what write gives; when that fails an older file stays.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer f.Abort()
	if err := write(f); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return f.Commit()
}
