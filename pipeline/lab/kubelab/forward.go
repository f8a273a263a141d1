package main

import (
	"io"
	"net"

	"github.com/spf13/cobra"
)

// newForwardCommand passes every connection to LISTEN on to TARGET: what an operator's redirect of port 80 does on a real node.
func newForwardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forward LISTEN TARGET", Args: cobra.ExactArgs(2), SilenceUsage: true,
		RunE: func(_ *cobra.Command, args []string) error {
			listener, err := net.Listen("tcp", args[0])
			if err != nil {
				return err
			}
			for {
				client, err := listener.Accept()
				if err != nil {
					return err
				}
				go relay(client, args[1])
			}
		},
	}
}

func relay(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
	<-done
}
