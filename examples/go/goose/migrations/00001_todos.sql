-- +goose Up
CREATE TABLE todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL);

-- +goose Down
DROP TABLE todos;
