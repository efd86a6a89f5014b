package gs

var ResolveEndpoint = resolveEndpoint
