// Takes the addresses out of package-lock.json, which npm writes for funding pages only. A lock file without addresses
// installs from any registry, and a test can hold every lock file to it. `npm run lock` writes the file anew with this.
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
for (const entry of Object.values(lock.packages)) {
  delete entry.funding;
  delete entry.resolved;
}
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
