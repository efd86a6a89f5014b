package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// scraped holds the metrics of golden files: values by label, by the name of the
// metric.
type scraped map[string]map[string]map[string]bool

var (
	samplePattern = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? \S+$`)
	labelPattern  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// readScraped returns all metrics that this library and ltxvfs make.
func readScraped(t *testing.T) scraped {
	t.Helper()
	all := make(scraped)
	for _, name := range []string{golden, "../cmd/ltxvfs/testdata/verify.prom"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			m := samplePattern.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil {
				t.Fatalf("%s: no sample: %s", name, line)
			}
			if all[m[1]] == nil {
				all[m[1]] = make(map[string]map[string]bool)
			}
			for _, label := range labelPattern.FindAllStringSubmatch(m[2], -1) {
				values := all[m[1]]
				if values[label[1]] == nil {
					values[label[1]] = make(map[string]bool)
				}
				values[label[1]][label[2]] = true
			}
		}
	}
	return all
}

var (
	selectorPattern = regexp.MustCompile(`(litestream_vfs_\w+)(?:\{([^}]*)\})?`)
	matcherPattern  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	groupingPattern = regexp.MustCompile(`\b(?:by|without|ignoring|on)\s*\(([^)]*)\)`)
	quotedPattern   = regexp.MustCompile(`"[^"]*"`)
)

// check returns what is wrong with an expression of PromQL: metrics, labels and
// values that no golden file has, and brackets that do not match.
func (s scraped) check(expr string) (wrong []string) {
	selectors := selectorPattern.FindAllStringSubmatch(expr, -1)
	if len(selectors) == 0 {
		wrong = append(wrong, "it has no metric")
	}
	labels := make(map[string]bool)
	for _, sel := range selectors {
		known, ok := s[sel[1]]
		if !ok {
			wrong = append(wrong, "there is no metric "+sel[1])
			continue
		}
		for label := range known {
			labels[label] = true
		}
		matched := matcherPattern.FindAllStringSubmatch(sel[2], -1)
		if rest := strings.Trim(matcherPattern.ReplaceAllString(sel[2], ""), ", "); rest != "" {
			wrong = append(wrong, fmt.Sprintf("%s: no matcher: %s", sel[0], rest))
		}
		for _, m := range matched {
			if known[m[1]] == nil {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", sel[1], m[1]))
				continue
			}
			if strings.HasPrefix(m[3], "$") {
				continue // a variable of a dashboard
			}
			for _, value := range strings.Split(m[3], "|") {
				if !known[m[1]][value] {
					wrong = append(wrong, fmt.Sprintf("%s has no %s %q", sel[1], m[1], value))
				}
			}
		}
	}
	for _, g := range groupingPattern.FindAllStringSubmatch(expr, -1) {
		for _, label := range strings.Split(g[1], ",") {
			if label = strings.TrimSpace(label); !labels[label] {
				wrong = append(wrong, "no metric has the label "+label)
			}
		}
	}
	var open []rune
	for _, r := range quotedPattern.ReplaceAllString(expr, "") {
		switch r {
		case '(', '[', '{':
			open = append(open, r)
		case ')', ']', '}':
			if n := len(open) - 1; n < 0 || string(open[n])+string(r) != map[rune]string{')': "()", ']': "[]", '}': "{}"}[r] {
				return append(wrong, "brackets do not match")
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		wrong = append(wrong, "a bracket is open")
	}
	return wrong
}

// TestCheck has expressions with one fault each.
func TestCheck(t *testing.T) {
	s := readScraped(t)
	for expr, want := range map[string]string{
		`sum by (kind) (rate(litestream_vfs_requests_total{kind=~"get|list",database=~"$database"}[5m])) > 0`: "",
		`up == 0`:                     "it has no metric",
		`litestream_vfs_requests > 0`: "there is no metric litestream_vfs_requests",
		`litestream_vfs_requests_total{kind="got"}`:     `litestream_vfs_requests_total has no kind "got"`,
		`litestream_vfs_requests_total{part="polls"}`:   "litestream_vfs_requests_total has no label part",
		`litestream_vfs_requests_total{kind}`:           "litestream_vfs_requests_total{kind}: no matcher: kind",
		`sum by (page) (litestream_vfs_requests_total)`: "no metric has the label page",
		`rate(litestream_vfs_requests_total[5m)]`:       "brackets do not match",
		`rate(litestream_vfs_requests_total[5m]`:        "a bracket is open",
	} {
		if got := strings.Join(s.check(expr), "; "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

var (
	durationPattern = regexp.MustCompile(`^\d+[smhdw]$`)
	templatePattern = regexp.MustCompile(`\{\{ (\$labels\.(\w+)|\$value(?: \| humanize(?:Duration)?)?) \}\}`)
)

// TestAlerts reads the rules as Prometheus does, and looks for their metrics in the
// golden files.
func TestAlerts(t *testing.T) {
	b, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(b, &file); err != nil {
		t.Fatal(err)
	}
	s := readScraped(t)
	var names []string
	for _, g := range file.Groups {
		if g.Name == "" || len(g.Rules) == 0 {
			t.Errorf("group %q has %d rules", g.Name, len(g.Rules))
		}
		for _, r := range g.Rules {
			if slices.Contains(names, r.Alert) || !strings.HasPrefix(r.Alert, "Litestream") {
				t.Errorf("alert %q", r.Alert)
			}
			names = append(names, r.Alert)
			for _, wrong := range s.check(r.Expr) {
				t.Errorf("%s: %s", r.Alert, wrong)
			}
			if r.For != "" && !durationPattern.MatchString(r.For) {
				t.Errorf("%s: for is %q", r.Alert, r.For)
			}
			if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s: severity is %q", r.Alert, severity)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("%s has no summary", r.Alert)
			}
			for name, text := range r.Annotations {
				for _, m := range templatePattern.FindAllStringSubmatch(text, -1) {
					if label := m[2]; label != "" && label != "database" && label != "replica" {
						t.Errorf("%s: %s has the label %s", r.Alert, name, label)
					}
				}
				if rest := templatePattern.ReplaceAllString(text, ""); strings.ContainsAny(rest, "{}") {
					t.Errorf("%s: %s is %q", r.Alert, name, text)
				}
			}
		}
	}
	if len(names) < 12 {
		t.Errorf("%d alerts", len(names))
	}
	monitoring, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(monitoring), "| `"+name+"` |") {
			t.Errorf("docs/monitoring.md does not have %s", name)
		}
	}
}

// TestDashboard loads the dashboard, and looks for what Grafana needs of it: its
// schema, panels of known kinds that do not overlap, data sources and variables that
// exist, and metrics that are in the golden files.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	var d struct {
		Title, UID    string
		SchemaVersion int
		Refresh       string
		Time          struct{ From, To string }
		Templating    struct {
			List []struct {
				Name, Type string
				Query      any
				Definition string
				Datasource *source
			}
		}
		Panels []struct {
			ID          int
			Type, Title string
			Description string
			Datasource  *source
			GridPos     struct{ X, Y, W, H int }
			FieldConfig struct{ Defaults map[string]any }
			Targets     []struct {
				RefID, Expr string
				Datasource  *source
			}
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 || d.Refresh == "" || d.Time.From == "" || d.Time.To == "" {
		t.Errorf("dashboard %q, %q has schema %d", d.Title, d.UID, d.SchemaVersion)
	}
	s := readScraped(t)
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Type == "query" {
			m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
			if m == nil || s[m[1]][m[2]] == nil {
				t.Errorf("variable %s is %s", v.Name, v.Definition)
			}
		}
	}
	isPrometheus := func(d *source) bool { return d != nil && *d == source{"prometheus", "${datasource}"} }
	ids := make(map[int]bool)
	cells := make(map[[2]int]string)
	used := make(map[string]bool)
	for _, p := range d.Panels {
		if p.ID <= 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		if g := p.GridPos; g.X < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("%s: place is %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, ok := cells[at]; ok {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				cells[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"stat", "timeseries", "table"}, p.Type) || !isPrometheus(p.Datasource) || len(p.Targets) == 0 || p.Description == "" {
			t.Errorf("%s: a panel %s with %d targets", p.Title, p.Type, len(p.Targets))
		}
		for _, target := range p.Targets {
			if target.RefID == "" || !isPrometheus(target.Datasource) {
				t.Errorf("%s: target %+v", p.Title, target)
			}
			for _, wrong := range s.check(target.Expr) {
				t.Errorf("%s: %s: %s", p.Title, target.Expr, wrong)
			}
			for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[m[1]] {
					t.Errorf("%s: %s: there is no variable %s", p.Title, target.Expr, m[1])
				}
			}
			for _, m := range selectorPattern.FindAllStringSubmatch(target.Expr, -1) {
				used[m[1]] = true
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("the dashboard shows %d metrics", len(used))
	}
}

// checkPart compares the part of docs/monitoring.md that a test makes with what it
// has made, or writes it.
func checkPart(t *testing.T, name, want string) {
	t.Helper()
	const page = "../docs/monitoring.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": made by go test ./metrics -update -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(string(b), begin)
	have, after, found := strings.Cut(rest, end)
	switch {
	case !ok || !found:
		t.Fatalf("%s has no part %s", page, name)
	case have == want:
	case !*update:
		t.Errorf("%s is not up to date: go test ./metrics -update; it should have\n%s", page, want)
	default:
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTable compares the table of metrics in docs/monitoring.md with the families.
func TestTable(t *testing.T) { checkPart(t, "metrics", table()) }

// table returns the rows about all metrics.
func table() string {
	var b strings.Builder
	b.WriteString("| metric | labels | |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| `%sdatabases` | | %s |\n", prefix, openHelp)
	fmt.Fprintf(&b, "| `%sopens_total` | `result`: `failure`, `success` | %s |\n", prefix, opensHelp)
	for _, f := range families {
		labels := "`database`"
		if f.label != "" {
			labels += ", `" + f.label + "`"
			var values []string
			for _, s := range f.series {
				if s.label != "" {
					values = append(values, "`"+s.label+"`")
				}
			}
			if len(values) > 0 {
				labels += ": " + strings.Join(values, ", ")
			}
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s |\n", prefix, f.name, labels, f.help)
	}
	return b.String()
}
