"use strict";
(() => {
	const $ = (id) => document.getElementById(id);
	const base = location.origin + location.pathname; // without a user and a password

	// Every text comes into the page by textContent, so none is taken for HTML. A node
	// whose content is the same is left alone, so nothing flickers and selections stay.
	const set = (node, text) => {
		if (node.textContent !== text) node.textContent = text;
	};
	const className = (node, name) => {
		if (node.getAttribute("class") !== name) node.setAttribute("class", name);
	};
	const attribute = (node, name, value) => {
		if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
	};
	const make = (tag, name, text) => {
		const node = document.createElement(tag);
		if (name) node.className = name;
		if (text !== undefined) node.textContent = text;
		return node;
	};
	const makeSVG = (tag, attributes) => {
		const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
		for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
		return node;
	};
	const show = (node, visible) => node.toggleAttribute("hidden", !visible);

	// each makes the children of a node those of a list, and keeps the nodes of keys
	// that are there already.
	const each = (parent, items, keyOf, create, update) => {
		const old = new Map();
		for (const child of parent.children) old.set(child.dataset.key, child);
		let at = parent.firstElementChild;
		for (const item of items) {
			const key = keyOf(item);
			let node = old.get(key);
			if (node) {
				old.delete(key);
			} else {
				node = create(item);
				node.dataset.key = key;
			}
			update(node, item);
			if (node === at) {
				at = at.nextElementSibling;
			} else {
				parent.insertBefore(node, at);
			}
		}
		for (const node of old.values()) node.remove();
	};

	// facts fills a description list with [term, value, remark].
	const facts = (list, all) => {
		each(list, all, (f) => f[0], () => {
			const node = make("div");
			node.append(make("dt"), make("dd"));
			node.lastChild.append(make("span"), make("small"));
			return node;
		}, (node, [term, value, remark]) => {
			set(node.firstChild, term);
			set(node.lastChild.firstChild, value);
			set(node.lastChild.lastChild, remark || "");
		});
	};

	// advice makes a node whose last child says what to do.
	const advice = () => {
		const node = make("div", "todo");
		node.append(make("strong", "", "What to do: "), make("span"));
		return node;
	};

	// rows fills a table with [class of the swatch, text, ...numbers].
	const rows = (table, all) => {
		each(table.tBodies[0], all, (r) => r[1], (r) => {
			const row = make("tr");
			for (let i = 1; i < r.length; i++) row.append(make("td"));
			if (r[0]) row.firstChild.append(make("span", "swatch " + r[0]));
			row.firstChild.append(make("span"));
			return row;
		}, (row, r) => {
			set(row.firstChild.lastChild, r[1]);
			for (let i = 2; i < r.length; i++) set(row.children[i - 1], r[i]);
		});
	};

	const number = new Intl.NumberFormat("en");
	const count = (n, noun) => number.format(n) + " " + noun + (n === 1 ? "" : "s");
	const bytes = (n) => {
		if (n < 1000) return n + " B";
		let i = -1;
		do {
			n /= 1000;
			i++;
		} while (n >= 999.5 && i < 5);
		return (n < 10 ? n.toFixed(1) : Math.round(n)) + " " + "kMGTPE"[i] + "B";
	};
	const duration = (ms) => {
		const s = Math.max(0, Math.round(ms / 1000));
		if (s < 60) return count(s, "second");
		if (s < 3600) return count(Math.floor(s / 60), "minute");
		if (s < 172800) return count(Math.floor(s / 3600), "hour");
		return count(Math.floor(s / 86400), "day");
	};
	const ago = (at, now) => (at > now + 1000 ? "in the future" : duration(now - at) + " ago");
	const timeOf = (at) => new Date(at).toLocaleTimeString("en-GB");
	const clock = (at) => {
		const d = new Date(at), time = timeOf(at);
		return d.toDateString() === new Date().toDateString() ? time : d.toLocaleDateString("en-CA") + " " + time;
	};
	const dollars = (n) => (n === 0 ? "$0" : n < 0.01 ? "under $0.01" : "$" + n.toFixed(2));

	// The list of databases.

	let chosen = "";
	const readHash = () => {
		const m = /^#db=([0-9a-f-]+)$/.exec(location.hash);
		chosen = m ? m[1] : "";
	};
	const order = { bad: 0, warning: 1, good: 2, asleep: 2 };
	// commonOf returns what the names of all databases begin with, up to a slash, if they
	// are URLs: the list is narrow, and what differs is at their ends.
	const commonOf = (names) => {
		if (names.length < 2 || !names.every((n) => n.includes("://"))) return 0;
		let n = names[0].lastIndexOf("/") + 1;
		while (n > 0 && !names.every((name) => name.startsWith(names[0].slice(0, n)))) n = n < 2 ? 0 : names[0].lastIndexOf("/", n - 2) + 1;
		return n;
	};
	const drawList = (data) => {
		const all = data.databases.slice().sort((a, b) => order[a.state] - order[b.state] || a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
		const wanted = $("filter").value.trim().toLowerCase();
		const shown = all.filter((d) => !wanted || (d.name + " " + d.place).toLowerCase().includes(wanted));
		show($("list"), all.length > 1);
		show($("filter"), all.length > 8);
		show($("none"), all.length > 0 && shown.length === 0);
		$("main").classList.toggle("many", all.length > 1);
		const common = commonOf(all.map((d) => d.name));
		each($("databases"), shown, (d) => d.id, (d) => {
			const item = make("li"), button = make("button");
			button.type = "button";
			button.append(make("span", "dot"), make("span", "title"), make("span", "aside"), make("span", "short"));
			button.addEventListener("click", () => {
				location.hash = "db=" + d.id;
				if (matchMedia("(max-width: 1149px)").matches) $("detail").scrollIntoView();
			});
			item.append(button);
			return item;
		}, (item, d) => {
			className(item, d.state);
			const [, title, aside, short] = item.firstChild.children;
			set(title, d.name.slice(common));
			set(aside, d.local < 0 ? "" : Math.floor(d.local) + " % local");
			set(short, d.problems.length ? d.problems[0].text.replace(/ since \S+ and (last worked at \S+|never worked before): /, ": ") : (d.state === "asleep" ? "asleep, " : d.state === "warning" ? d.words + " " : "") +
				(d.time ? "newest " + ago(d.time, data.time) : "") + (d.queue ? ", " + bytes(d.queue) + " to upload" : ""));
			attribute(item.firstChild, "title", d.name);
			attribute(item.firstChild, "aria-current", d.id === chosen);
		});
		const bad = all.filter((d) => d.state === "bad").length, warnings = all.filter((d) => d.state === "warning").length;
		const good = all.length - bad - warnings;
		const parts = [];
		if (bad) parts.push(bad + (bad === 1 ? " has a problem" : " have problems"));
		if (warnings) parts.push(warnings + (warnings === 1 ? " needs a look" : " need a look"));
		if (good) parts.push(parts.length ? good + (good === 1 ? " is fine" : " are fine") : all.length === 1 ? "fine" : "all fine");
		set($("summary"), all.length === 0 ? "This program has no database open." : count(all.length, "database") + ": " + parts.join(", "));
		document.title = (bad ? "(" + bad + ") " : "") + "Databases";
		return all;
	};

	// One database.

	const copyWords = {
		idle: "It has not begun.",
		restoring: "The database is being copied to a local file. Pages that are there already are read from it.",
		catching_up: "The copy was complete; it is fetching what has changed since.",
		on_demand: "Only the pages that queries read are kept in the local file.",
		complete: "Every page is in the local file, and its checksums are right. Reads need no storage.",
		failed: "The copy has failed. Reads go to storage.",
	};

	const drawHead = (d, data) => {
		set($("name"), d.name);
		set($("place"), d.place === d.name ? "" : d.place);
		set($("words"), d.words);
		className($("words"), "state " + d.state);
		each($("problems"), d.problems, (p) => p.text, () => {
			const item = make("li");
			item.append(make("div"), advice());
			return item;
		}, (item, p) => {
			set(item.firstChild, p.text);
			set(item.lastChild.lastChild, p.todo);
		});
	};

	const drawFacts = (d, data) => {
		const polled = d.lag < 0 ? "not yet" : duration(d.lag) + " ago";
		facts($("facts"), [
			["Newest transaction", d.time ? ago(d.time, data.time) : "none yet", d.txid],
			["Last looked for news", d.write.enabled ? "it is the writer" : polled, d.state === "asleep" ? "it looks again when it is used" : ""],
			["Size", bytes(d.size), count(d.pages, "page") + " of " + number.format(d.page_size) + " bytes"],
			["In the local file", d.local < 0 ? "off" : Math.floor(d.local) + " %", d.local < 0 ? "hydration is not enabled" : ""],
			["Waiting for upload", d.write.enabled || d.queue ? bytes(d.queue) : "nothing", d.write.enabled ? "" : "this program only reads"],
			["Requests cost", dollars(d.month) + " a month", "at the rate of the last minutes"],
		]);
	};

	// The map of the local copy.

	let drawnMap = "";
	const drawMap = (d) => {
		show($("copy"), d.hydration.enabled);
		$("reads").classList.toggle("wide", !d.hydration.enabled);
		if (!d.hydration.enabled) return;
		const h = d.hydration, m = d.map;
		set($("copy-words"), copyWords[h.status] + (h.owner ? " Process " + h.owner + " makes the file, and this one shares it." : "") + (h.error ? " " + h.error : ""));
		show($("map-box"), m.pages > 0);
		show($("owners"), m.pages > 0);
		set($("map-hint"), m.pages === 0 ? "" : count(h.pages, "page") + " of " + number.format(h.total_pages) + " are local, " + number.format(h.verified_pages) +
			" with a verified checksum. " + (m.per_cell > 1 ? "Each square is " + number.format(m.per_cell) + " pages" : "Each square is a page") + ", from the first to the last.");
		if (m.pages === 0) return;
		const canvas = $("map"), width = $("map-box").clientWidth, scale = devicePixelRatio || 1;
		const dark = matchMedia("(prefers-color-scheme: dark)").matches;
		const key = [m.fill, m.owners, width, scale, dark].join(" ");
		attribute(canvas, "aria-label", Math.floor(d.local) + " percent of the pages are in the local file");
		const legend = m.names.map((name, i) => ["o" + i, name]);
		if (m.owners.includes("-")) legend.push(["other", "other tables and indexes"]);
		if (m.owners.includes(".")) legend.push(["", "large rows, free, or not known yet"]);
		if (/[0-8]/.test(m.fill)) legend.push(["empty", "not local yet"]);
		each($("owners"), legend, (l) => l[0] + " " + l[1], (l) => {
			const item = make("li");
			item.append(make("span", "swatch " + l[0]), make("span"));
			return item;
		}, (item, l) => set(item.lastChild, l[1]));
		if (key === drawnMap || width === 0) return;
		drawnMap = key;
		const n = m.fill.length;
		const size = Math.max(4, Math.min(16, Math.floor(Math.sqrt(width * 170 / n))));
		const columns = Math.max(1, Math.floor(width / size)), lines = Math.ceil(n / columns);
		canvas.width = Math.round(width * scale);
		canvas.height = Math.round(lines * size * scale);
		canvas.style.height = lines * size + "px";
		const style = getComputedStyle(document.documentElement);
		const color = (name) => style.getPropertyValue("--" + name).trim();
		const empty = color("empty"), colors = { ".": color("unknown"), "-": color("other") };
		for (let i = 0; i < 8; i++) colors[i] = color("c" + i);
		const g = canvas.getContext("2d");
		g.scale(scale, scale);
		for (let i = 0; i < n; i++) {
			const x = (i % columns) * size, y = Math.floor(i / columns) * size, fill = Number(m.fill[i]);
			g.globalAlpha = 1;
			g.fillStyle = empty;
			g.fillRect(x, y, size - 1, size - 1);
			if (fill === 0) continue;
			g.globalAlpha = 0.25 + 0.75 * fill / 9;
			g.fillStyle = colors[m.owners[i]];
			g.fillRect(x, y, size - 1, size - 1);
		}
	};

	// Reads by tier.

	const tiers = [
		["storage", "storage, the query waited"],
		["ahead", "storage, fetched ahead of time"],
		["local", "local file"],
		["memory", "memory"],
	];
	const drawReads = (d, data) => {
		const span = 300000, from = data.time - span;
		let top = 0;
		const total = {};
		for (const [tier] of tiers) total[tier] = 0;
		for (const s of d.reads) {
			let sum = 0;
			for (const [tier] of tiers) {
				sum += s[tier];
				total[tier] += s[tier];
			}
			top = Math.max(top, sum / Math.max(1, s.to - s.from));
		}
		const chart = $("chart");
		if (!chart.firstChild) for (const [tier] of tiers) chart.append(makeSVG("path", { class: tier }));
		const paths = tiers.map(() => "");
		for (const s of d.reads) {
			const x0 = Math.max(0, (s.from - from) / span * 300), x1 = (s.to - from) / span * 300;
			let y = 60;
			tiers.forEach(([tier], i) => {
				const h = top === 0 ? 0 : s[tier] / Math.max(1, s.to - s.from) / top * 56;
				if (h === 0 || x1 <= x0) return;
				y -= h;
				paths[i] += "M" + x0.toFixed(2) + " " + y.toFixed(2) + "H" + (x1 + 0.05).toFixed(2) + "v" + h.toFixed(2) + "H" + x0.toFixed(2) + "z";
			});
		}
		paths.forEach((path, i) => attribute(chart.children[i], "d", path));
		attribute(chart, "aria-label", "Pages a second over the last five minutes, by the place where they were found");
		set($("chart-top"), top > 0 ? "at most " + count(Math.ceil(top * 1000), "page") + " a second" : "no reads while somebody looked");
		rows($("tiers"), tiers.map(([tier, text]) => [tier, text, number.format(total[tier]), number.format(d.tiers[tier])]));
	};

	// Requests.

	const drawRequests = (d) => {
		const r = d.requests;
		set($("cost-words"), "They have cost " + dollars(r.dollars) + " since the database was opened; at the rate of the last minutes, a month costs " + dollars(r.dollars_per_month) +
			". Transfer and the space in storage are not included." + (d.retries ? " " + count(d.retries, "request") + " had to be repeated." : ""));
		const b = d.bytes;
		rows($("requests"), [
			["", "listings", number.format(r.list), ""],
			["", "reads", number.format(r.get), bytes(b.pages + b.ahead + b.indexes + b.hydration + b.polls)],
			["", "· pages that queries wait for", "", bytes(b.pages)],
			["", "· pages ahead of time", "", bytes(b.ahead)],
			["", "· headers and page indexes", "", bytes(b.indexes)],
			["", "· the local copy", "", bytes(b.hydration)],
			["", "· looking for news", "", bytes(b.polls)],
			["", "uploads", number.format(r.put), ""],
			["", "deletions", number.format(r.delete), ""],
		]);
	};

	// Uploads.

	const drawQueue = (d, data) => {
		const w = d.write;
		const idle = !w.enabled && !d.queue && !w.commits;
		set($("queue-words"), idle ? "This program only reads the database, so there is nothing to upload." :
			d.queue ? bytes(d.queue) + " of commits wait for their upload." : "Every commit is on the replica.");
		show($("queue"), !idle);
		facts($("queue"), [
			["Commits", number.format(w.commits), w.recovered ? number.format(w.recovered) + " from an earlier process" : ""],
			["Uploaded files", number.format(w.syncs), d.uploads.success ? "the last one " + ago(d.uploads.success, data.time) : ""],
			["Failed uploads", number.format(w.failures), ""],
			["Write buffer", w.buffer ? "kept" : "temporary", w.buffer || "what is not uploaded is lost if the process is killed"],
		]);
	};

	const drawEvents = (d, data) => {
		set($("events-words"), d.events.length ? "The newest failure of each kind since the database was opened." : "Nothing has failed since the database was opened.");
		each($("events"), d.events, (e) => e.what, () => {
			const item = make("li");
			item.append(make("strong"), make("div"), advice());
			return item;
		}, (item, e) => {
			set(item.children[0], e.what + (e.failing ? ": failing, " : ": failed ") + ago(e.failure, data.time) + (e.failing ? "" : ", works again since " + ago(e.success, data.time).replace(/ ago$/, "")));
			set(item.children[1], e.error);
			set(item.children[2].lastChild, e.todo);
		});
	};

	// The time line of the files.

	let files = null; // what is shown, with the id of its database
	const levelName = (level) => (level === 9 ? "snapshots" : level === 0 ? "transactions" : "merged " + level);
	const drawFiles = () => {
		const f = files && files.id === chosen ? files.data : null;
		const line = $("line");
		show(line, Boolean(f && !f.error && f.columns));
		if (!f) {
			set($("files-words"), "Listing the files …");
			return;
		}
		if (f.error) {
			set($("files-words"), "The files could not be listed: " + f.error);
			return;
		}
		set($("files-words"), count(f.files, "file") + ", " + bytes(f.bytes) + ". " + (f.moments ? count(f.moments, "moment") +
			" can be queried and restored, from " + clock(f.oldest.time) + " to " + clock(f.newest.time) + "." : "No moment can be queried or restored."));
		const width = Math.max(200, line.parentElement.clientWidth - 34), left = 92, row = 24, plot = width - left - 8;
		const height = f.levels.length * row + 46;
		const key = [f.at, width].join(" ");
		if (line.dataset.drawn === chosen + " " + key) return;
		line.dataset.drawn = chosen + " " + key;
		attribute(line, "viewBox", "0 0 " + width + " " + height);
		attribute(line, "height", height);
		attribute(line, "aria-label", "Files by level, the oldest on the left, and the moments that can be queried");
		const x = (column) => left + plot * column / f.columns;
		const text = (at, y, words, anchor) => {
			const node = makeSVG("text", { x: at, y: y, "text-anchor": anchor || "start" });
			node.textContent = words;
			return node;
		};
		const nodes = [];
		const choose = (node, words) => {
			const title = makeSVG("title");
			title.textContent = words;
			node.append(title);
			node.addEventListener("click", () => {
				for (const old of line.querySelectorAll(".chosen")) old.classList.remove("chosen");
				node.classList.add("chosen");
				set($("line-caption"), words);
			});
			nodes.push(node);
		};
		f.levels.forEach((level, i) => {
			const y = i * row;
			nodes.push(makeSVG("line", { class: "row", x1: left, x2: width - 8, y1: y + row - 3, y2: y + row - 3 }));
			choose(text(0, y + 15, levelName(level.level)), "Level " + level.level + ": " + count(level.files, "file") + ", " + bytes(level.bytes) + ".");
			for (const bar of level.bars) {
				const at = x(bar.from);
				choose(makeSVG("rect", { class: level.level === 9 ? "snapshot" : level.level === 0 ? "single" : "merged", x: at, y: y + 3, width: Math.max(2, x(bar.to) - at), height: row - 9, rx: 2 }),
					(bar.files === 1 ? "A file" : count(bar.files, "file")) + " of level " + level.level + ", " + bytes(bar.bytes) + ", with the transactions " + bar.min_txid + " to " + bar.max_txid + ", made " + clock(bar.time) + ".");
			}
		});
		const y = f.levels.length * row;
		nodes.push(text(0, y + 15, "moments"));
		for (const mark of f.marks) {
			choose(makeSVG("rect", { class: "mark", x: x(mark.at) - 2, y: y + 4, width: 4, height: 14, rx: 2 }),
				(mark.moments > 1 ? "The newest of " + count(mark.moments, "moment") + " here: " : "A moment: ") + clock(mark.time) + ", transaction " + mark.txid +
				". To see it, run ltxvfs query with --at " + mark.txid + ", or PRAGMA litestream_txid = '" + mark.txid + "'.");
		}
		if (f.moments) {
			const first = f.marks[0], last = f.marks[f.marks.length - 1];
			nodes.push(text(Math.min(x(last.at) + 4, width - 4), y + 36, clock(last.time), "end"));
			if (x(last.at) - x(first.at) > 300) nodes.push(text(x(first.at) - 2, y + 36, clock(first.time)));
		}
		line.replaceChildren(...nodes);
		set($("line-caption"), "Older is left. Each bar is a file: a snapshot has the whole database, files below it have what changed since. Choose a bar or a moment to read more.");
	};

	// Changes, on request.

	const asked = new Map(); // answers by database and transactions
	const changesText = (d) => {
		if (d.error) return d.error;
		if (d.tables.length === 0) return "No row of a table has changed.";
		return d.tables.map((t) => {
			const parts = [];
			if (t.definition) parts.push(t.definition);
			for (const what of ["inserted", "updated", "deleted"]) if (t[what]) parts.push(number.format(t[what]) + " " + what);
			return t.table + ": " + parts.join(", ");
		}).join("; ") + ".";
	};
	const drawChanges = () => {
		const f = files && files.id === chosen && !files.data.error ? files.data : null;
		const id = chosen;
		set($("changes-words"), !f ? "" : f.last.length ? "To count the rows that a transaction has changed, the program reads the pages that differ, which takes some requests." : "There are no two moments to compare.");
		each($("changes"), f ? f.last : [], (s) => id + s.from + s.txid, (s) => {
			const item = make("li"), button = make("button", "", "What changed?");
			button.type = "button";
			button.addEventListener("click", async () => {
				const key = id + s.from + s.txid;
				button.disabled = true;
				set(item.lastChild, "Reading …");
				let answer;
				try {
					answer = await ask({ view: "changes", db: id, from: s.from, to: s.txid });
				} catch (error) {
					answer = { error: "No answer: " + error.message, tables: [] };
					button.disabled = false;
				}
				asked.set(key, answer);
				set(item.lastChild, changesText(answer));
			});
			const when = make("span");
			when.append(make("span"), make("span", "code"));
			item.append(when, button, make("div", "result"));
			return item;
		}, (item, s) => {
			set(item.firstChild.firstChild, clock(s.time) + " ");
			set(item.firstChild.lastChild, s.txid);
			const answer = asked.get(id + s.from + s.txid);
			if (answer) set(item.lastChild, changesText(answer));
		});
	};

	const ask = async (query, signal) => {
		const answer = await fetch(base + "?" + new URLSearchParams(query), { cache: "no-store", signal: signal });
		if (!answer.ok) throw new Error(answer.status === 401 ? "the token is not accepted, reload the page" : "status " + answer.status);
		return answer.json();
	};

	// The files are listed when a database is chosen, and again at most every half a
	// minute, after a transaction.
	let listing = "";
	const listFiles = async (d) => {
		const current = files && files.id === d.id;
		if (listing === d.id || current && (Date.now() - files.asked < 30000 || files.txid === d.txid && !files.data.error)) return;
		listing = d.id;
		const start = Date.now();
		let data;
		try {
			data = await ask({ view: "files", db: d.id });
		} catch (error) {
			data = { error: error.message };
		}
		listing = "";
		if (d.id !== chosen) return;
		files = { id: d.id, txid: d.txid, asked: start, data: data };
		drawFiles();
		drawChanges();
	};

	// Asking for news.

	let timer = 0, pending = null, last = null, failedSince = 0;
	const draw = (data) => {
		const all = drawList(data);
		if (!all.some((d) => d.id === chosen)) {
			chosen = all.length ? all[0].id : "";
			if (chosen && !data.detail) {
				poll(); // with the details of this one
				return;
			}
		}
		const d = data.detail || all.find((a) => a.id === chosen);
		show($("detail"), Boolean(d));
		if (!d) return;
		drawHead(d, data);
		const whole = Boolean(data.detail);
		for (const part of $("detail").children) show(part, whole || part.contains($("name")));
		show($("facts"), whole);
		if (!whole) return;
		drawFacts(d, data);
		drawMap(d);
		drawReads(d, data);
		drawRequests(d);
		drawQueue(d, data);
		drawEvents(d, data);
		drawFiles();
		drawChanges();
		listFiles(d);
	};
	const poll = async () => {
		clearTimeout(timer);
		if (pending) pending.abort();
		pending = null; // an answer that was given up is no failure
		if (document.visibilityState !== "visible") return;
		const mine = pending = new AbortController();
		let data = null, problem = "";
		try {
			data = await ask({ view: "data", db: chosen }, mine.signal);
		} catch (error) {
			problem = error.message;
		}
		if (mine !== pending) return;
		failedSince = data ? 0 : failedSince || Date.now();
		$("live").classList.toggle("failing", !data);
		$("main").classList.toggle("stale", !data);
		timer = setTimeout(poll, data ? data.every : 2000);
		if (!data) {
			set($("live"), "No answer since " + timeOf(failedSince) + ", trying again: " + problem);
			return;
		}
		set($("live"), "as of " + timeOf(data.time));
		last = data;
		draw(data);
	};

	addEventListener("hashchange", () => {
		readHash();
		drawnMap = "";
		$("line").dataset.drawn = "";
		if (last) drawList(last);
		poll();
	});
	document.addEventListener("visibilitychange", poll);
	addEventListener("resize", () => {
		if (last) draw(last);
	});
	$("filter").addEventListener("input", () => {
		if (last) drawList(last);
	});
	readHash();
	poll();
})();
