package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"
)

// newCrictlCommand is the part of crictl that asks the node's runtime what the kubelet would ask it: pull, images, inspecti, rmi.
func newCrictlCommand() *cobra.Command {
	var endpoint, output, creds string
	var timeout time.Duration
	root := &cobra.Command{Use: "crictl", SilenceUsage: true}
	usual := os.Getenv("CONTAINER_RUNTIME_ENDPOINT")
	if usual == "" {
		usual = "unix:///run/containerd/containerd.sock"
	}
	root.PersistentFlags().StringVarP(&endpoint, "runtime-endpoint", "r", usual, "the runtime's socket")
	root.PersistentFlags().DurationVarP(&timeout, "timeout", "t", 2*time.Minute, "how long to wait for the runtime")
	images := func() (internalapi.ImageManagerService, error) {
		return remote.NewRemoteImageService(endpoint, timeout, nil, nil)
	}

	pull := &cobra.Command{
		Use: "pull REF", Short: "pull an image as the kubelet does", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := images()
			if err != nil {
				return err
			}
			var auth *runtimeapi.AuthConfig
			if creds == "-" { // USER:PASSWORD on stdin: never in an argv
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 4096))
				if err != nil {
					return err
				}
				auth = parseCreds(string(text))
			}
			id, err := service.PullImage(cmd.Context(), &runtimeapi.ImageSpec{Image: args[0]}, auth, nil)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Image is up to date for", id)
			return nil
		},
	}
	pull.Flags().StringVar(&creds, "creds", "", "'-': read USER:PASSWORD from stdin")

	list := &cobra.Command{
		Use: "images", Short: "list the images the runtime has", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			service, err := images()
			if err != nil {
				return err
			}
			found, err := service.ListImages(cmd.Context(), &runtimeapi.ImageFilter{})
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"images": found})
			}
			for _, image := range found {
				fmt.Fprintln(cmd.OutOrStdout(), image.Id, image.RepoTags, image.RepoDigests, image.Size)
			}
			return nil
		},
	}
	list.Flags().StringVarP(&output, "output", "o", "table", "table or json")

	inspect := &cobra.Command{
		Use: "inspecti REF", Short: "what the runtime knows of one image, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := images()
			if err != nil {
				return err
			}
			status, err := service.ImageStatus(cmd.Context(), &runtimeapi.ImageSpec{Image: args[0]}, false)
			if err != nil {
				return err
			}
			if status.Image == nil {
				return fmt.Errorf("no such image %q present", args[0])
			}
			return printJSON(cmd.OutOrStdout(), map[string]any{"status": status.Image})
		},
	}
	inspect.Flags().StringP("output", "o", "json", "always json")

	remove := &cobra.Command{
		Use: "rmi REF", Short: "remove one image from the runtime", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := images()
			if err != nil {
				return err
			}
			return service.RemoveImage(cmd.Context(), &runtimeapi.ImageSpec{Image: args[0]})
		},
	}
	root.AddCommand(pull, list, inspect, remove)
	return root
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func parseCreds(text string) *runtimeapi.AuthConfig {
	user, password, _ := strings.Cut(strings.TrimSpace(text), ":")
	return &runtimeapi.AuthConfig{Username: user, Password: password}
}
