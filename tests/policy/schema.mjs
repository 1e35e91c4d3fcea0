// SPDX-License-Identifier: Apache-2.0
// An outside validator reads the published schema: it accepts and refuses the files that `weir check` does.
// A bad file whose second line says "# schema accepts: REASON" is one that no schema can see; that is checked too.
// Usage: schema.mjs SOURCE_ROOT FOLDER (FOLDER takes node_modules)
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [root, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
copyFileSync(join(root, "tests/policy/package.json"), join(folder, "package.json"));
if (!existsSync(join(folder, "node_modules/ajv"))) {
	try {
		execFileSync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: folder, stdio: "pipe", timeout: 120000 });
	} catch (e) {
		console.log("SKIP: ajv cannot be installed: " + (String(e.stderr || "").split("\n").find((l) => l.trim()) || e.message));
		process.exit(77);
	}
}
const require = createRequire(join(folder, "package.json"));
const Ajv = require("ajv/dist/2020").default;
const { parseAllDocuments } = require("yaml");
const ajv = new Ajv({ allErrors: false, strict: true, strictRequired: false, strictTypes: false, validateFormats: false });
const validate = ajv.compile(JSON.parse(readFileSync(join(root, "docs/policy.schema.json"), "utf8")));

let failed = 0;
function read(path) {
	try {
		const docs = parseAllDocuments(readFileSync(path, "utf8"), { version: "1.2", uniqueKeys: true, maxAliasCount: 100 });
		if (docs.length !== 1 || docs[0].errors.length || docs[0].warnings.length) return { yaml: false };
		return { yaml: true, ok: validate(docs[0].toJS({ maxAliasCount: 100 })), errors: validate.errors };
	} catch (e) {
		return { yaml: false };
	}
}
function list(dir) {
	return readdirSync(join(root, dir)).filter((f) => f.endsWith(".yaml")).sort().map((f) => join(root, dir, f));
}
let seen = 0, blind = 0;
for (const path of list("tests/policy/bad")) {
	const r = read(path);
	const second = readFileSync(path, "utf8").split("\n")[1] ?? "";
	const mark = second.startsWith("# schema accepts: ");
	if (mark) blind++;
	else seen++;
	if (!mark && r.yaml && r.ok) { console.log(`${path}: the schema accepts it`); failed++; }
	if (mark && r.yaml && !r.ok) { console.log(`${path}: marked as unseen, and the schema refuses it: ${ajv.errorsText(r.errors)}`); failed++; }
}
let good = 0;
for (const dir of ["tests/policy/good", "lib/policy/profiles", "examples"])
	for (const path of list(dir)) {
		const r = read(path);
		good++;
		if (!r.yaml || !r.ok) { console.log(`${path}: the schema refuses it: ${r.yaml ? ajv.errorsText(r.errors) : "not YAML"}`); failed++; }
	}
console.log(`${seen} bad files refused, ${blind} that no schema can see, ${good} good files accepted, ${failed} differences`);
process.exit(failed ? 1 : 0);
