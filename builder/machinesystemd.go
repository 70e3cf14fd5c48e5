package builder

import (
	"context"
	"path"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// systemdProgram is systemd in every image that has it, merged /usr or not.
const systemdProgram = "/lib/systemd/systemd"

// Units of Debian's systemd that a machine enables, and those that it is better off without: nobody logs in at its console, no kernel module is left to load
// (the root has no /lib/modules) and no LVM to look through, and what is kept from boot to boot (seed, journal, record of boots) would be in memory.
var (
	enabledUnits = []string{"systemd-networkd.service"}
	maskedUnits  = []string{"serial-getty@ttyS0.service", "getty@tty1.service", "systemd-firstboot.service", "systemd-remount-fs.service", "apt-daily.timer", "apt-daily-upgrade.timer",
		"modprobe@.service", "systemd-modules-load.service", "e2scrub_reap.service", "e2scrub_all.timer",
		"systemd-random-seed.service", "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"}
)

// settingsUnit brings the machine's settings before any service starts.
const settingsUnit = `# Made by the bake.
[Unit]
Description=Settings of this machine
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service
Before=sysinit.target network-pre.target
Wants=network-pre.target
FailureAction=poweroff

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + agentProgram + ` settings

[Install]
WantedBy=sysinit.target
`

// readyUnit says on the console that the network is there and the services begin.
const readyUnit = `# Made by the bake.
[Unit]
Description=Word that the services start
After=release-settings.service network-online.target systemd-networkd-wait-online.service
Requires=systemd-networkd-wait-online.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + agentProgram + ` ready

[Install]
WantedBy=` + unitTarget + `
`

// channelUnit is there for whoever runs the machine, from before the services until after them.
const channelUnit = `# Made by the bake.
[Unit]
Description=Line to whoever runs this machine
Requires=release-settings.service
After=release-settings.service

[Service]
Type=exec
ExecStart=` + agentProgram + ` channel
Restart=on-failure
KillMode=mixed

[Install]
WantedBy=` + unitTarget + `
`

// commandUnit runs what the settings name instead of services. The machine ends with it.
const commandUnit = `# Made by the bake.
[Unit]
Description=Command that is run instead of the services
ConditionPathExists=/run/release/command
Requires=release-settings.service
After=release-settings.service release-ready.service release-channel.service
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=exec
ExecStart=` + agentProgram + ` command
KillMode=mixed
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=` + unitTarget + `
`

// serviceDropIn is laid over each service of the image. Its output goes to the console by way of the journal.
const serviceDropIn = `# Made by the bake.
[Unit]
Requires=release-settings.service
After=release-settings.service release-ready.service release-channel.service
ConditionPathExists=!/run/release/command

[Service]
EnvironmentFile=-/run/release/environment
StandardOutput=journal
StandardError=journal
`

// networkFile does not have services wait a second until nobody else has been heard to have the card's IPv6 address, which is made of a number
// that no other card has.
const networkFile = `# Made by the bake.
[Match]
Type=ether

[Network]
DHCP=ipv4
IPv6DuplicateAddressDetection=0

[DHCPv4]
UseHostname=no
`

const journalFile = `# Made by the bake: the console is what is kept of a machine.
[Journal]
Storage=volatile
ForwardToConsole=yes
MaxLevelConsole=info
`

// systemdFiles are those of a machine that systemd starts.
func (b *bake) systemdFiles(img images.Image) ([]file, error) {
	config := b.machineConfig(img)
	config.Supervise = []string{supervisorProgram}
	for _, s := range b.recipe.Order() {
		config.Units = append(config.Units, s.Name+".service")
	}
	var m madeFiles
	if err := m.agent(config); err != nil {
		return nil, err
	}
	for _, u := range []struct{ name, text, target string }{
		{"release-settings.service", settingsUnit, "sysinit.target"},
		{"release-ready.service", readyUnit, unitTarget},
		{"release-channel.service", channelUnit, unitTarget},
		{"release-command.service", commandUnit, unitTarget},
	} {
		m.file(path.Join(unitDir, u.name), []byte(u.text), 0o644)
		m.link(path.Join(unitDir, u.target+".wants", u.name), path.Join(unitDir, u.name))
	}
	m.link(path.Join(unitDir, "network-online.target.wants/systemd-networkd-wait-online.service"), "/lib/systemd/system/systemd-networkd-wait-online.service")
	m.link(path.Join(unitDir, "default.target"), path.Join("/lib/systemd/system", unitTarget))
	for _, name := range enabledUnits {
		m.link(path.Join(unitDir, unitTarget+".wants", name), path.Join("/lib/systemd/system", name))
	}
	for _, name := range maskedUnits {
		m.link(path.Join(unitDir, name), "/dev/null")
	}
	for _, s := range b.recipe.Order() {
		m.file(path.Join(unitDir, s.Name+".service.d/release.conf"), []byte(serviceDropIn), 0o644)
	}
	m.file("/etc/systemd/network/80-release.network", []byte(networkFile), 0o644)
	m.file("/etc/systemd/journald.conf.d/release.conf", []byte(journalFile), 0o644)
	m.file("/etc/hostname", []byte(b.hostname()+"\n"), 0o644)
	m.file("/etc/machine-id", nil, 0o444) // empty: each machine gets its own, and none is a first boot
	return m.list, nil
}

// needsUdev refuses systemd without udev: networkd would wait for ever for word of the network card.
func (b *bake) needsUdev(ctx context.Context, st *state) error {
	t, err := st.look(ctx)
	if err != nil {
		return err
	}
	if _, n, err := t.resolve("/lib/systemd/systemd-udevd"); err != nil || n == nil || n.kind != images.File && n.kind != images.Symlink {
		return fault.New(fault.Invalid, "the image has systemd and no udev: its network would not come up").
			WithHint("packages: [systemd, udev, dbus]; without systemd the machine starts with a small program of ours")
	}
	return nil
}
