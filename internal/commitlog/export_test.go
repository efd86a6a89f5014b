package commitlog

// CreateWithSalt is Create with a salt that is not random.
var CreateWithSalt = create
