// A provider with the schema of rackerlabs/spot 0.1.4, for tests only: its cloud is a folder, its cluster is the one whose kubeconfig
// it is given, and it fails when it is told to.
//
// PIPELINE_TEST_SPOT names the folder:
//
//	token            the one token that is let in
//	kubeconfig       what data.spot_kubeconfig gives as raw
//	world.json       what exists; tests edit it to make drift
//	faults.json      {"create spot_cloudspace": "503"}, see fault
//	calls            one line for each call, appended
package main

import (
	"context"
	"log"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/rackerlabs/spot"}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return &spot{} }, options); err != nil {
		log.Fatal(err)
	}
}

type spot struct{}

func (*spot) Metadata(_ context.Context, _ provider.MetadataRequest, response *provider.MetadataResponse) {
	response.TypeName = "spot"
	response.Version = "0.1.4"
}

func (*spot) Schema(_ context.Context, _ provider.SchemaRequest, response *provider.SchemaResponse) {
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"token": schema.StringAttribute{Optional: true, Sensitive: true},
	}}
}

// Configure takes the token from the configuration, then RXTSPOT_TOKEN, then the file that RXTSPOT_TOKEN_FILE names.
func (*spot) Configure(ctx context.Context, request provider.ConfigureRequest, response *provider.ConfigureResponse) {
	var config struct {
		Token types.String `tfsdk:"token"`
	}
	response.Diagnostics.Append(request.Config.Get(ctx, &config)...)
	token := config.Token.ValueString()
	if token == "" {
		token = os.Getenv("RXTSPOT_TOKEN")
	}
	if file := os.Getenv("RXTSPOT_TOKEN_FILE"); token == "" && file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			response.Diagnostics.AddError("Failed to read token file", err.Error())
			return
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		response.Diagnostics.AddError("Missing Rackspace Spot token", "Set token, RXTSPOT_TOKEN or RXTSPOT_TOKEN_FILE.")
		return
	}
	cloud := &cloud{folder: os.Getenv("PIPELINE_TEST_SPOT")}
	if err := cloud.enter(ctx, "configure provider"); err != nil {
		response.Diagnostics.AddError("Failed to authenticate", err.Error())
		return
	}
	if known, err := os.ReadFile(cloud.file("token")); err != nil || strings.TrimSpace(string(known)) != token {
		response.Diagnostics.AddError("Failed to authenticate", "unexpected status code 401 Unauthorized: invalid refresh token")
		return
	}
	response.ResourceData, response.DataSourceData = cloud, cloud
}

func (*spot) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &cloudspace{} },
		func() resource.Resource { return &nodepool{} },
	}
}

func (*spot) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return &kubeconfig{} }}
}
