package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type cloudspace struct{ cloud *cloud }

type cloudspaceModel struct {
	ID                  types.String `tfsdk:"id"`
	CloudspaceName      types.String `tfsdk:"cloudspace_name"`
	Name                types.String `tfsdk:"name"`
	Region              types.String `tfsdk:"region"`
	HAControlPlane      types.Bool   `tfsdk:"hacontrol_plane"`
	PreemptionWebhook   types.String `tfsdk:"preemption_webhook"`
	WaitUntilReady      types.Bool   `tfsdk:"wait_until_ready"`
	KubernetesVersion   types.String `tfsdk:"kubernetes_version"`
	CNI                 types.String `tfsdk:"cni"`
	DeploymentType      types.String `tfsdk:"deployment_type"`
	SpotnodepoolIDs     types.List   `tfsdk:"spotnodepool_ids"`
	FirstReadyTimestamp types.String `tfsdk:"first_ready_timestamp"`
	Timeouts            types.Object `tfsdk:"timeouts"`
}

func (*cloudspace) Metadata(_ context.Context, _ resource.MetadataRequest, response *resource.MetadataResponse) {
	response.TypeName = "spot_cloudspace"
}

func (*cloudspace) Schema(_ context.Context, _ resource.SchemaRequest, response *resource.SchemaResponse) {
	again := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	kept := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"id":                    schema.StringAttribute{Computed: true, PlanModifiers: kept},
		"cloudspace_name":       schema.StringAttribute{Optional: true, PlanModifiers: again},
		"name":                  schema.StringAttribute{Optional: true, Computed: true, PlanModifiers: kept},
		"region":                schema.StringAttribute{Required: true, PlanModifiers: again},
		"hacontrol_plane":       schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false)},
		"preemption_webhook":    schema.StringAttribute{Optional: true},
		"wait_until_ready":      schema.BoolAttribute{Optional: true},
		"kubernetes_version":    schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("1.31.1")},
		"cni":                   schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("calico")},
		"deployment_type":       schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("gen2")},
		"spotnodepool_ids":      schema.ListAttribute{Computed: true, ElementType: types.StringType},
		"first_ready_timestamp": schema.StringAttribute{Computed: true, PlanModifiers: kept},
		"timeouts": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
			"create": schema.StringAttribute{Optional: true},
		}},
	}}
}

func (r *cloudspace) Configure(_ context.Context, request resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	r.cloud, _ = request.ProviderData.(*cloud)
}

func (r *cloudspace) Create(ctx context.Context, request resource.CreateRequest, response *resource.CreateResponse) {
	var plan cloudspaceModel
	if response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...); response.Diagnostics.HasError() {
		return
	}
	name := plan.CloudspaceName.ValueString()
	if name == "" {
		name = plan.Name.ValueString()
	}
	err := r.cloud.enter(ctx, "create spot_cloudspace")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			if _, there := world.Cloudspaces[name]; there {
				return fmt.Errorf("unexpected status code 409 from the Spot API: cloudspace %s already exists", name)
			}
			world.Cloudspaces[name] = map[string]any{
				"region": plan.Region.ValueString(), "kubernetes_version": plan.KubernetesVersion.ValueString(),
				"preemption_webhook": plan.PreemptionWebhook.ValueString(),
			}
			return nil
		})
	}
	if err == nil {
		err = r.cloud.leave(ctx, "create spot_cloudspace")
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to create cloudspace", err.Error())
		return
	}
	plan.ID, plan.Name = types.StringValue(name), types.StringValue(name)
	plan.FirstReadyTimestamp = types.StringValue("2026-01-01T00:00:00Z")
	plan.SpotnodepoolIDs = types.ListValueMust(types.StringType, []attr.Value{})
	response.Diagnostics.Append(response.State.Set(ctx, &plan)...)
}

func (r *cloudspace) Read(ctx context.Context, request resource.ReadRequest, response *resource.ReadResponse) {
	var state cloudspaceModel
	if response.Diagnostics.Append(request.State.Get(ctx, &state)...); response.Diagnostics.HasError() {
		return
	}
	there := false
	err := r.cloud.enter(ctx, "read spot_cloudspace")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			var found map[string]any
			if found, there = world.Cloudspaces[state.ID.ValueString()]; there {
				state.KubernetesVersion = types.StringValue(fmt.Sprint(found["kubernetes_version"]))
				if webhook := fmt.Sprint(found["preemption_webhook"]); webhook != "" {
					state.PreemptionWebhook = types.StringValue(webhook)
				}
			}
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to get cloudspace", err.Error())
		return
	}
	if !there {
		response.State.RemoveResource(ctx)
		return
	}
	response.Diagnostics.Append(response.State.Set(ctx, &state)...)
}

func (r *cloudspace) Update(ctx context.Context, request resource.UpdateRequest, response *resource.UpdateResponse) {
	var plan cloudspaceModel
	if response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...); response.Diagnostics.HasError() {
		return
	}
	err := r.cloud.enter(ctx, "update spot_cloudspace")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			if found, there := world.Cloudspaces[plan.ID.ValueString()]; there {
				found["kubernetes_version"] = plan.KubernetesVersion.ValueString()
				found["preemption_webhook"] = plan.PreemptionWebhook.ValueString()
			}
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to update cloudspace", err.Error())
		return
	}
	plan.SpotnodepoolIDs = types.ListValueMust(types.StringType, []attr.Value{})
	response.Diagnostics.Append(response.State.Set(ctx, &plan)...)
}

func (r *cloudspace) Delete(ctx context.Context, request resource.DeleteRequest, response *resource.DeleteResponse) {
	var state cloudspaceModel
	response.Diagnostics.Append(request.State.Get(ctx, &state)...)
	err := r.cloud.enter(ctx, "delete spot_cloudspace")
	if err == nil {
		err = r.cloud.change(func(world *world) error {
			delete(world.Cloudspaces, state.ID.ValueString())
			return nil
		})
	}
	if err != nil {
		response.Diagnostics.AddError("Failed to delete cloudspace", err.Error())
	}
}
