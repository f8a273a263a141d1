package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type nodepool struct{ cloud *cloud }

type nodepoolModel struct {
	Name               types.String `tfsdk:"name"`
	CloudspaceName     types.String `tfsdk:"cloudspace_name"`
	ServerClass        types.String `tfsdk:"server_class"`
	BidPrice           types.Number `tfsdk:"bid_price"`
	DesiredServerCount types.Int64  `tfsdk:"desired_server_count"`
	Autoscaling        types.Object `tfsdk:"autoscaling"`
	Labels             types.Map    `tfsdk:"labels"`
	Annotations        types.Map    `tfsdk:"annotations"`
	Taints             types.List   `tfsdk:"taints"`
	BidStatus          types.String `tfsdk:"bid_status"`
	WonCount           types.Int64  `tfsdk:"won_count"`
}

func (*nodepool) Metadata(_ context.Context, _ resource.MetadataRequest, response *resource.MetadataResponse) {
	response.TypeName = "spot_spotnodepool"
}

func (*nodepool) Schema(_ context.Context, _ resource.SchemaRequest, response *resource.SchemaResponse) {
	again := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	kept := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"name":                 schema.StringAttribute{Computed: true, PlanModifiers: kept},
		"cloudspace_name":      schema.StringAttribute{Required: true, PlanModifiers: again},
		"server_class":         schema.StringAttribute{Required: true, PlanModifiers: again},
		"bid_price":            schema.NumberAttribute{Required: true},
		"desired_server_count": schema.Int64Attribute{Optional: true},
		"autoscaling": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
			"min_nodes": schema.Int64Attribute{Optional: true},
			"max_nodes": schema.Int64Attribute{Optional: true},
		}},
		"labels":      schema.MapAttribute{Optional: true, ElementType: types.StringType},
		"annotations": schema.MapAttribute{Optional: true, ElementType: types.StringType},
		"taints": schema.ListNestedAttribute{Optional: true, NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"key": schema.StringAttribute{Required: true}, "value": schema.StringAttribute{Optional: true},
			"effect": schema.StringAttribute{Required: true},
		}}},
		"bid_status": schema.StringAttribute{Computed: true, PlanModifiers: kept},
		"won_count":  schema.Int64Attribute{Computed: true},
	}}
}

func (r *nodepool) Configure(_ context.Context, request resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.cloud, _ = request.ProviderData.(*cloud)
}

func (r *nodepool) Create(ctx context.Context, request resource.CreateRequest, response *resource.CreateResponse) {
	var plan nodepoolModel
	if response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...); response.Diagnostics.HasError() {
		return
	}
	name := plan.CloudspaceName.ValueString() + "-" + plan.ServerClass.ValueString()
	err := r.cloud.enter(ctx, "create spot_spotnodepool")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			if _, there := world.Cloudspaces[plan.CloudspaceName.ValueString()]; !there {
				return fmt.Errorf("unexpected status code 404 from the Spot API: no cloudspace %s", plan.CloudspaceName.ValueString())
			}
			world.Nodepools[name] = told(plan)
			return nil
		})
	}
	if err == nil {
		err = r.cloud.leave(ctx, "create spot_spotnodepool")
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to create spotnodepool", err.Error())
		return
	}
	plan.Name, plan.BidStatus, plan.WonCount = types.StringValue(name), types.StringValue("WON"), plan.DesiredServerCount
	response.Diagnostics.Append(response.State.Set(ctx, &plan)...)
}

func told(plan nodepoolModel) map[string]any {
	return map[string]any{"servers": plan.DesiredServerCount.ValueInt64(), "bid": plan.BidPrice.ValueBigFloat().String()}
}

func (r *nodepool) Read(ctx context.Context, request resource.ReadRequest, response *resource.ReadResponse) {
	var state nodepoolModel
	if response.Diagnostics.Append(request.State.Get(ctx, &state)...); response.Diagnostics.HasError() {
		return
	}
	there := false
	err := r.cloud.enter(ctx, "read spot_spotnodepool")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			var found map[string]any
			if found, there = world.Nodepools[state.Name.ValueString()]; there {
				if count, is := found["servers"].(float64); is {
					state.DesiredServerCount = types.Int64Value(int64(count))
				}
			}
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to get spotnodepool", err.Error())
		return
	}
	if !there {
		response.State.RemoveResource(ctx)
		return
	}
	response.Diagnostics.Append(response.State.Set(ctx, &state)...)
}

func (r *nodepool) Update(ctx context.Context, request resource.UpdateRequest, response *resource.UpdateResponse) {
	var plan nodepoolModel
	if response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...); response.Diagnostics.HasError() {
		return
	}
	err := r.cloud.enter(ctx, "update spot_spotnodepool")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			world.Nodepools[plan.Name.ValueString()] = told(plan)
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to update spotnodepool", err.Error())
		return
	}
	plan.WonCount = plan.DesiredServerCount
	response.Diagnostics.Append(response.State.Set(ctx, &plan)...)
}

func (r *nodepool) Delete(ctx context.Context, request resource.DeleteRequest, response *resource.DeleteResponse) {
	var state nodepoolModel
	response.Diagnostics.Append(request.State.Get(ctx, &state)...)
	err := r.cloud.enter(ctx, "delete spot_spotnodepool")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			delete(world.Nodepools, state.Name.ValueString())
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to delete spotnodepool", err.Error())
	}
}
