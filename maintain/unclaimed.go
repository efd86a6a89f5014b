package maintain

// clear makes zeros of the pages up to last that no file of the state has. An earlier
// restore may have left something else there, but only where the file has data: it can
// have large holes, which stay.
func (p *partial) clear(pageSize int, last uint32, claimed func(pgno uint32) bool) error {
	info, err := p.data.Stat()
	if err != nil {
		return err
	}
	size := min(info.Size(), int64(last)*int64(pageSize))
	zeros, page := make([]byte, pageSize), make([]byte, pageSize)
	for at := int64(0); at < size; {
		start, end, err := dataAfter(p.data, at, size)
		if err != nil {
			return err
		}
		for at = start - start%int64(pageSize); at < end; at += int64(pageSize) {
			if claimed(uint32(at/int64(pageSize)) + 1) {
				continue
			}
			// At the end of the file the page may be in part. What is not there is zero.
			n, err := p.data.ReadAt(page[:min(int64(pageSize), info.Size()-at)], at)
			if err != nil {
				return err
			}
			if isZero(page[:n]) {
				continue
			}
			if err := p.write(zeros, at); err != nil {
				return err
			}
		}
	}
	return nil
}
