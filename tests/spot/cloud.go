package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cloud is a folder that stands for Rackspace Spot.
type cloud struct{ folder string }

// world is what exists in it, by name.
type world struct {
	Cloudspaces map[string]map[string]any `json:"cloudspaces"`
	Nodepools   map[string]map[string]any `json:"nodepools"`
}

func (c *cloud) file(name string) string { return filepath.Join(c.folder, name) }

// enter notes the call and does what faults.json says of it: a status code is answered with it; "hang" waits until the caller gives up,
// or for an hour; "slow" waits for two seconds; "crash" ends the provider. "late-…" does the same after the work is done, see leave.
func (c *cloud) enter(ctx context.Context, call string) error {
	if err := c.note(call); err != nil {
		return err
	}
	return c.fault(ctx, c.faults()[call])
}

// leave is told once the work is done, and before the caller hears of it.
func (c *cloud) leave(ctx context.Context, call string) error {
	fault, late := strings.CutPrefix(c.faults()[call], "late-")
	if !late {
		return nil
	}
	return c.fault(ctx, fault)
}

func (c *cloud) fault(ctx context.Context, fault string) error {
	switch {
	case fault == "" || strings.HasPrefix(fault, "late-"):
		return nil
	case fault == "hang":
		return wait(ctx, time.Hour)
	case fault == "slow":
		return wait(ctx, 2*time.Second)
	case fault == "crash":
		panic("the provider was told to crash")
	default:
		return fmt.Errorf("unexpected status code %s from the Spot API", fault)
	}
}

func wait(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}

func (c *cloud) faults() map[string]string {
	found := map[string]string{}
	if text, err := os.ReadFile(c.file("faults.json")); err == nil {
		_ = json.Unmarshal(text, &found)
	}
	return found
}

func (c *cloud) note(call string) error {
	file, err := os.OpenFile(c.file("calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, call)
	return err
}

// change reads the world, lets `edit` at it and writes it back; one caller at a time.
func (c *cloud) change(edit func(*world) error) error {
	lock, err := os.OpenFile(c.file("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	found := world{map[string]map[string]any{}, map[string]map[string]any{}}
	text, err := os.ReadFile(c.file("world.json"))
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := edit(&found); err != nil {
		return err
	}
	text, err = json.MarshalIndent(found, "", " ")
	if err != nil {
		return err
	}
	part := c.file("world.json.part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, c.file("world.json"))
}
