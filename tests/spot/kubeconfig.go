package main

import (
	"context"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type kubeconfig struct{ cloud *cloud }

type kubeconfigModel struct {
	CloudspaceName types.String `tfsdk:"cloudspace_name"`
	Raw            types.String `tfsdk:"raw"`
	Kubeconfigs    types.List   `tfsdk:"kubeconfigs"`
}

var execution = map[string]attr.Type{
	"api_version": types.StringType, "command": types.StringType, "args": types.ListType{ElemType: types.StringType},
	"env": types.MapType{ElemType: types.StringType},
}

var entry = map[string]attr.Type{
	"name": types.StringType, "cluster": types.StringType, "host": types.StringType, "token": types.StringType, "insecure": types.BoolType,
	"username": types.StringType, "exec": types.ObjectType{AttrTypes: execution},
}

func (*kubeconfig) Metadata(_ context.Context, _ datasource.MetadataRequest, response *datasource.MetadataResponse) {
	response.TypeName = "spot_kubeconfig"
}

func (*kubeconfig) Schema(_ context.Context, _ datasource.SchemaRequest, response *datasource.SchemaResponse) {
	given := schema.StringAttribute{Computed: true}
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"cloudspace_name": schema.StringAttribute{Required: true},
		"raw":             given, // as with the real one, not marked as sensitive
		"kubeconfigs": schema.ListNestedAttribute{Computed: true, NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"name": given, "cluster": given, "host": given, "username": given, "insecure": schema.BoolAttribute{Computed: true},
			"token": schema.StringAttribute{Computed: true, Sensitive: true},
			"exec": schema.SingleNestedAttribute{Computed: true, Attributes: map[string]schema.Attribute{
				"api_version": given, "command": given,
				"args": schema.ListAttribute{Computed: true, ElementType: types.StringType},
				"env":  schema.MapAttribute{Computed: true, ElementType: types.StringType},
			}},
		}}},
	}}
}

func (d *kubeconfig) Configure(_ context.Context, request datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	d.cloud, _ = request.ProviderData.(*cloud)
}

func (d *kubeconfig) Read(ctx context.Context, request datasource.ReadRequest, response *datasource.ReadResponse) {
	var model kubeconfigModel
	if response.Diagnostics.Append(request.Config.Get(ctx, &model)...); response.Diagnostics.HasError() {
		return
	}
	err := d.cloud.enter(ctx, "read spot_kubeconfig")
	var text []byte
	if err == nil {
		text, err = os.ReadFile(d.cloud.file("kubeconfig"))
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to get kubeconfig", err.Error())
		return
	}
	model.Raw = types.StringValue(string(text))
	model.Kubeconfigs = types.ListValueMust(types.ObjectType{AttrTypes: entry}, []attr.Value{})
	response.Diagnostics.Append(response.State.Set(ctx, &model)...)
}
