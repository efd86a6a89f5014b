package gs

var (
	ResolveEndpoint   = resolveEndpoint
	ParseContentRange = parseContentRange
)
