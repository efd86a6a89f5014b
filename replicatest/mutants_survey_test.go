package replicatest

import (
	"context"
	"io/fs"
	"slices"

	"github.com/ltxvfs/litestream/replica"
)

var surveyMutants = []mutant{
	{
		name:   "surveys nothing as missing",
		killed: []string{"Survey/a replica that does not exist has no names"},
		mutate: func(f *fake) {
			f.survey = func(ctx context.Context, dir string) (replica.Survey, error) {
				s, err := f.surveyAll(ctx, dir)
				if err == nil && len(s.Names) == 0 {
					err = fs.ErrNotExist
				}
				return s, err
			}
		},
	},
	{
		name:   "surveys the place for a folder",
		killed: []string{"Survey/lists the folders of the levels", "Survey/lists what lies at the place in ascending order"},
		mutate: func(f *fake) {
			f.survey = func(ctx context.Context, _ string) (replica.Survey, error) { return f.surveyAll(ctx, "") }
		},
	},
	{
		name:   "surveys without the folder of the levels",
		killed: []string{"Survey/lists the folders of the levels"},
		mutate: func(f *fake) {
			f.editSurvey(func(s *replica.Survey) { s.LevelDir = "ltx" })
		},
	},
	{
		name:   "surveys in no order",
		killed: []string{"Survey/lists what lies at the place in ascending order"},
		mutate: func(f *fake) {
			f.editSurvey(func(s *replica.Survey) { slices.Reverse(s.Names) })
		},
	},
	{
		name:   "surveys without saying that there are more names",
		killed: []string{"Survey/lists the first names if there are many"},
		mutate: func(f *fake) {
			f.editSurvey(func(s *replica.Survey) { s.More = false })
		},
	},
	{
		name:   "surveys as if there always were more names",
		killed: []string{"Survey/a replica that does not exist has no names", "Survey/lists the first names if there are many"},
		mutate: func(f *fake) {
			f.editSurvey(func(s *replica.Survey) { s.More = true })
		},
	},
	{
		name:   "surveys without the first bytes",
		killed: []string{"Survey/has the first bytes of a file at the place"},
		mutate: func(f *fake) {
			f.editSurvey(func(s *replica.Survey) { s.Head = nil })
		},
	},
	{
		name:   "surveys any folder",
		killed: []string{"Survey/any other dir is fs.ErrInvalid"},
		mutate: func(f *fake) {
			f.survey = func(ctx context.Context, dir string) (replica.Survey, error) {
				s, err := f.surveyAll(ctx, dir)
				if err != nil && ctx.Err() == nil {
					return replica.Survey{}, nil
				}
				return s, err
			}
		},
	},
	{
		name:   "says it cannot survey, and does",
		killed: []string{"Survey/a client that cannot survey returns errors.ErrUnsupported"},
		props:  func(p *Properties) { p.NoSurvey = true },
		mutate: func(*fake) {},
	},
}

// editSurvey changes what surveys return.
func (f *fake) editSurvey(edit func(*replica.Survey)) {
	f.survey = func(ctx context.Context, dir string) (replica.Survey, error) {
		s, err := f.surveyAll(ctx, dir)
		if err == nil {
			edit(&s)
		}
		return s, err
	}
}
