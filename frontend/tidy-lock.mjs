// Makes package-lock.json one that installs everywhere: `npm run lock` writes it anew and then runs this.
//
// Addresses go: npm writes some for funding pages only, and a test can then hold every lock file to having none.
// Programs for other platforms come back: a registry that does not carry them all (a mirror, say) makes npm leave them
// out of the lock, and `npm ci` then refuses the lock that npm wrote.
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
const packages = lock.packages;
const PLATFORM = /-(android|darwin|linux|win32)-(arm64|x64)(-musl)?$/;

for (const [place, entry] of Object.entries(packages)) {
  delete entry.funding;
  delete entry.resolved;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const [found, os, cpu, musl] = PLATFORM.exec(name) ?? [];
    if (place === "" || !found || packages[`node_modules/${name}`]) continue;
    packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      dev: true,
      ...(musl ? { libc: ["musl"] } : {}),
      optional: true,
      os: [os],
    };
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
