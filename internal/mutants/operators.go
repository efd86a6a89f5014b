package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// finder finds the mutants of a file.
type finder struct {
	l    *loader
	pkg  *types.Package
	info *types.Info
	file *sourceFile
	name string // path of the file within the tree

	function string
	count    map[string]int // mutants by function and change
	found    []*mutant
}

// find returns the mutants of a file.
func (f *finder) find() []*mutant {
	f.count = make(map[string]int)
	for _, d := range f.file.syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		f.function = fn.Name.Name
		if fn.Recv != nil && len(fn.Recv.List) == 1 {
			f.function = receiver(fn.Recv.List[0].Type) + "." + f.function
		}
		f.walk(fn.Body, nil)
	}
	return f.found
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// walk visits a node and what is below it. Above are the nodes above it, outermost
// first.
func (f *finder) walk(n ast.Node, above []ast.Node) {
	if n == nil || f.leaveOut(n) {
		return
	}
	below := append(above[:len(above):len(above)], n)
	switch n := n.(type) {
	case *ast.BlockStmt:
		f.statements(n.List, below)
	case *ast.CaseClause:
		f.statements(n.Body, below)
	case *ast.CommClause:
		f.statements(n.Body, below)
	case *ast.IfStmt:
		f.condition(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			f.condition(n.Cond)
		}
	case *ast.SliceExpr:
		f.bounds(n)
	case *ast.ReturnStmt:
		f.returns(n)
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.BasicLit, *ast.Ident:
		f.constant(n.(ast.Expr), above)
	}
	for _, child := range children(n) {
		f.walk(child, below)
	}
}

// children returns the nodes directly below a node.
func children(n ast.Node) []ast.Node {
	var list []ast.Node
	ast.Inspect(n, func(c ast.Node) bool {
		if c == n {
			return true
		}
		if c != nil {
			list = append(list, c)
		}
		return false
	})
	return list
}

// leaveOut reports nodes without mutants: declarations of constants and types, words
// that only people read, locks, without which tests hang, and what frees a context or
// a timer early.
func (f *finder) leaveOut(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.VAR
	case *ast.ArrayType, *ast.StructType, *ast.FuncType, *ast.InterfaceType, *ast.SelectorExpr:
		return true
	case *ast.CallExpr:
		return f.untested(n)
	case *ast.DeferStmt:
		return f.untested(n.Call)
	}
	return false
}

func (f *finder) untested(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		id, ok := call.Fun.(*ast.Ident)
		return ok && (id.Name == "panic" || types.TypeString(f.info.Types[id].Type, nil) == "context.CancelFunc")
	}
	fn, ok := f.info.Uses[sel.Sel].(*types.Func)
	if !ok || fn.Pkg() == nil {
		return false
	}
	switch fn.Pkg().Path() {
	case "fmt", "errors":
		return fn.Name() == "Errorf" || fn.Name() == "New"
	case "log", "log/slog":
		return true
	case "time":
		return fn.Name() == "Stop"
	case "sync":
		return strings.HasSuffix(fn.Name(), "ock")
	}
	return false
}

func (f *finder) offset(p token.Pos) int { return f.l.fset.Position(p).Offset }

// text returns the source of a node as one short line.
func (f *finder) text(n ast.Node) string {
	s := strings.Join(strings.Fields(string(f.file.src[f.offset(n.Pos()):f.offset(n.End())])), " ")
	if len(s) > 100 {
		s = s[:97] + "..."
	}
	return s
}

// add adds a mutant that stands around a node.
func (f *finder) add(n ast.Node, change, before, after string, more ...edit) {
	from, to := f.offset(n.Pos()), f.offset(n.End())
	edits := append([]edit{
		{at: from, end: from, text: before, extent: to - from},
		{at: to, end: to, text: after, closes: true, extent: to - from},
	}, more...)
	counted := f.function + "\t" + change
	f.found = append(f.found, &mutant{
		File: f.name, Line: f.l.fset.Position(n.Pos()).Line, Func: f.function,
		Change: change, Nth: f.count[counted], edits: edits,
	})
	f.count[counted]++
}

// becomes adds a mutant that passes an expression through a function of package
// active.
func (f *finder) becomes(e ast.Expr, as, function string) {
	f.add(e, f.text(e)+" => "+as, "mutantactive."+function+"(%d, ", ")")
}

// statements adds mutants that leave a statement out, or do another one instead.
func (f *finder) statements(list []ast.Stmt, above []ast.Node) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok && f.untested(call) {
				continue
			}
			f.without(s)
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE && !blank(s) {
				f.without(s)
			}
		case *ast.DeferStmt:
			if !f.untested(s.Call) {
				f.without(s)
			}
		case *ast.SendStmt, *ast.GoStmt:
			f.without(s)
		case *ast.IncDecStmt:
			f.without(s)
			x := f.text(s.X)
			other := x + "--"
			if s.Tok == token.DEC {
				other = x + "++"
			}
			f.add(s, f.text(s)+" => "+other, "if mutantactive.On(%d) { "+other+" } else { ", " }")
		case *ast.BranchStmt:
			f.branch(s, above)
		}
	}
}

// blank reports an assignment that keeps nothing.
func blank(s *ast.AssignStmt) bool {
	for _, e := range s.Lhs {
		if id, ok := e.(*ast.Ident); !ok || id.Name != "_" {
			return false
		}
	}
	return true
}

func (f *finder) without(s ast.Stmt) {
	f.add(s, f.text(s)+" => nothing", "if !mutantactive.On(%d) { ", " }")
}

// branch swaps break and continue where both mean the same loop.
func (f *finder) branch(s *ast.BranchStmt, above []ast.Node) {
	if s.Tok != token.BREAK && s.Tok != token.CONTINUE {
		return
	}
	if s.Label == nil {
		for i := len(above) - 1; i >= 0; i-- {
			switch above[i].(type) {
			case *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
				return
			case *ast.ForStmt, *ast.RangeStmt:
				i = 0
			}
		}
	}
	other := "continue"
	if s.Tok == token.CONTINUE {
		other = "break"
	}
	if s.Label != nil {
		other += " " + s.Label.Name
	}
	f.add(s, f.text(s)+" => "+other, "if mutantactive.On(%d) { "+other+" } else { ", " }")
}

// condition negates conditions that no other operator changes.
func (f *finder) condition(e ast.Expr) {
	switch e := ast.Unparen(e).(type) {
	case *ast.BinaryExpr:
		return
	case *ast.CallExpr:
		f.negate(e)
	case *ast.Ident, *ast.SelectorExpr, *ast.UnaryExpr, *ast.IndexExpr:
		f.negate(e)
	}
}

func (f *finder) negate(e ast.Expr) {
	f.add(e, f.text(e)+" => !("+f.text(e)+")", "(mutantactive.On(%d) != (", "))")
}

// bounds moves the bounds of a slice by one.
func (f *finder) bounds(e *ast.SliceExpr) {
	for _, b := range []struct {
		e        ast.Expr
		sign, by string
	}{{e.Low, "+", "Plus"}, {e.High, "-", "Minus"}} {
		if b.e == nil {
			continue
		}
		before := "mutantactive." + b.by + "(%d, "
		if f.info.Types[b.e].Value != nil {
			before = "mutantactive." + b.by + "[int](%d, "
		}
		f.add(b.e, fmt.Sprintf("%s: %s => %[2]s%s1", f.text(e), f.text(b.e), b.sign), before, ")")
	}
}

// returns replaces errors by nil, and results that say yes or no by the other.
func (f *finder) returns(s *ast.ReturnStmt) {
	for _, e := range s.Results {
		tv := f.info.Types[e]
		if tv.Type == nil || tv.IsNil() || tv.Value != nil {
			continue
		}
		if _, tuple := tv.Type.(*types.Tuple); tuple {
			continue
		}
		if types.AssignableTo(tv.Type, types.Universe.Lookup("error").Type()) {
			f.add(e, "return "+f.text(e)+" => return nil", "mutantactive.Nil(%d, ", ")")
		} else if tv.Type == types.Typ[types.Bool] {
			f.condition(e)
		}
	}
}

// binary changes an operation of two operands.
func (f *finder) binary(e *ast.BinaryExpr) {
	tv := f.info.Types[e]
	if tv.Value != nil || tv.Type == nil {
		return
	}
	x, y := f.text(e.X), f.text(e.Y)
	operator := f.offset(e.OpPos)
	to := func(function, other string) {
		f.add(e, f.text(e)+" => "+other, "mutantactive."+function+"(%d, ", ")",
			edit{at: operator, end: operator + len(e.Op.String()), text: ","})
	}
	switch e.Op {
	case token.EQL:
		f.add(e, f.text(e)+" => "+x+" != "+y, "(mutantactive.On(%d) != (", "))")
	case token.NEQ:
		f.add(e, f.text(e)+" => "+x+" == "+y, "(mutantactive.On(%d) != (", "))")
	case token.LSS, token.GTR, token.LEQ, token.GEQ:
		f.order(e, x, y, operator)
	case token.LAND:
		f.becomes(e.X, "true in "+f.text(e), "True")
		f.becomes(e.Y, "true in "+f.text(e), "True")
	case token.LOR:
		f.becomes(e.X, "false in "+f.text(e), "False")
		f.becomes(e.Y, "false in "+f.text(e), "False")
	case token.ADD:
		to("Add", x+" - "+y)
	case token.SUB:
		to("Sub", x+" + "+y)
	case token.MUL:
		to("Mul", x+" + "+y)
	case token.QUO:
		to("Div", x)
	case token.REM:
		to("Rem", x)
	case token.AND:
		to("And", x+" | "+y)
	case token.OR:
		to("Or", x+" & "+y)
	}
}

// order negates a comparison of order, and moves its border by one. Comparisons
// with < and > pass their operands in the order of the source.
func (f *finder) order(e *ast.BinaryExpr, x, y string, operator int) {
	other := map[token.Token][3]string{
		token.LSS: {"<=", ">=", "Less"}, token.LEQ: {"<", ">", "LessEqual"},
		token.GTR: {">=", "<=", "Greater"}, token.GEQ: {">", "<", "GreaterEqual"},
	}[e.Op]
	f.add(e, f.text(e)+" => "+x+" "+other[1]+" "+y, "(mutantactive.On(%d) != (", "))")
	f.add(e, f.text(e)+" => "+x+" "+other[0]+" "+y, "mutantactive."+other[2]+"(%d, ", ")",
		edit{at: operator, end: operator + len(e.Op.String()), text: ","})
}

// constant changes a number, a named one to zero, and true to false.
func (f *finder) constant(e ast.Expr, above []ast.Node) {
	tv := f.info.Types[e]
	if tv.Value == nil || tv.Type == nil || f.withinConstant(e, above) {
		return
	}
	basic, ok := tv.Type.Underlying().(*types.Basic)
	if !ok {
		return
	}
	text := f.text(e)
	in := f.text(within(e, above))
	if basic.Info()&types.IsBoolean != 0 {
		f.add(e, fmt.Sprintf("%s => !%[1]s in %s", text, in), "(mutantactive.On(%d) != ", ")")
		return
	}
	if basic.Info()&types.IsInteger == 0 {
		return
	}
	typ := types.TypeString(types.Default(tv.Type), func(p *types.Package) string {
		if p == f.pkg {
			return ""
		}
		return p.Name()
	})
	if _, literal := e.(*ast.BasicLit); !literal {
		f.add(e, fmt.Sprintf("%s => 0 in %s", text, in), "mutantactive.Zero["+typ+"](%d, ", ")")
		return
	}
	f.add(e, fmt.Sprintf("%s => %[1]s+1 in %s", text, in), "mutantactive.Plus["+typ+"](%d, ", ")")
	if tv.Value.ExactString() != "0" {
		f.add(e, fmt.Sprintf("%s => %[1]s-1 in %s", text, in), "mutantactive.Minus["+typ+"](%d, ", ")")
	}
}

// withinConstant reports an expression that is part of a constant one, or the key
// of an element, or the number of a shift's places.
func (f *finder) withinConstant(e ast.Expr, above []ast.Node) bool {
	switch p := above[len(above)-1].(type) {
	case *ast.KeyValueExpr:
		return p.Key == e
	case ast.Expr:
		return f.info.Types[p].Value != nil
	}
	return false
}

// within returns the expression or statement around a node, which says in a change
// which of several equal numbers is meant.
func within(e ast.Expr, above []ast.Node) ast.Node {
	switch p := above[len(above)-1].(type) {
	case *ast.BlockStmt, *ast.FuncLit, *ast.CompositeLit, *ast.CaseClause, *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
		return e
	default:
		return p
	}
}
