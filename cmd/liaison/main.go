// Command liaison takes HL7 v2 feeds and FHIR resources in and gives
// coordination records out on Kafka. See the README for its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/liaison-health/liaison/cmd/internal/config"
	"github.com/liaison-health/liaison/connectors/redis"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errReported ends a command that has already said what failed.
var errReported = errors.New("failed")

// usageError is a wrong use of the command line.
type usageError struct{ error }

func main() {
	redis.Quiet() // what fails comes back as an error and is counted
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run does everything but exit, so that tests call it.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signals(errs)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintln(errs, "liaison:", err)
		return exitUsage
	case unknownCommand(root, args):
		fmt.Fprintln(errs, "liaison:", err)
		return exitUsage
	}
	fmt.Fprintln(errs, "liaison:", err)
	return exitFailed
}

// newRoot makes the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "liaison", Short: "HL7 v2 and FHIR in, coordination records out of Kafka",
		SilenceErrors: true, SilenceUsage: true, Version: version(),
		RunE: help,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		runCommand(), demoCommand(), checkCommand(), mapCommand(), sendCommand(), tailCommand(), journalCommand(), quarantineCommand(),
		benchCommand(), schemaCommand(),
	)
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	return root
}

// version is what the program was built from, as Go recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// help is what a command of commands does by itself.
func help(c *cobra.Command, _ []string) error { return c.Help() }

// checkArgs makes a wrong number of arguments a wrong use.
func checkArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w: %s", err, c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

func unknownCommand(root *cobra.Command, args []string) bool {
	_, _, err := root.Find(args)
	return err != nil
}

// signals gives a context that the first SIGINT or SIGTERM ends; the second
// ends the process at once.
func signals(errs io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-c:
				if n > 0 {
					fmt.Fprintln(errs, "liaison: stopped at once")
					os.Exit(exitFailed)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(c)
		close(done)
		cancel()
	}
}

// loadConfig reads --config, or gives the defaults, with --data over both.
func loadConfig(file, data string) (*config.Config, error) {
	cfg := config.Default()
	if file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	if data != "" {
		cfg.Data = data
	}
	return cfg, nil
}

func logger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level))
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
}
