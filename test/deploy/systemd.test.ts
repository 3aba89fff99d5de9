/** deploy/systemd/byteproxy.service, checked by systemd itself (Debian package `systemd`). */
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { KNOWN_VARIABLES } from "./variables.ts";

const unit = fileURLToPath(new URL("../../deploy/systemd/byteproxy.service", import.meta.url));
const text = readFileSync(unit, "utf8");

/** 0 is fully confined, 10 not at all; systemd calls up to 2 "OK" or better. */
const EXPOSURE_LIMIT = 2;

function isInstalled(): boolean {
  try {
    execFileSync("systemd-analyze", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn("skipped: checks of the systemd unit; they need the Debian package systemd");
    return false;
  }
}

it("The unit sets only variables of the gateway", () => {
  const assignments = [...text.matchAll(/^Environment=(.*)$/gm)].flatMap((match) => (match[1] as string).split(" "));
  const names = assignments.map((assignment) => assignment.split("=")[0] as string);
  expect(names.filter((name) => !KNOWN_VARIABLES.has(name) && name !== "NODE_ENV")).toEqual([]);
  expect(names).toContain("PROXY_API_KEY_FILE");
});

it("The unit leaves the gateway more time to stop than it takes", () => {
  expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(text)?.[1])).toBeGreaterThan(11);
});

it.skipIf(!isInstalled())("systemd accepts the unit without a warning, and rates its confinement as good", () => {
  const folder = tempFolder();
  const copy = join(folder, "byteproxy.service");
  copyFileSync(unit, copy);
  const verify = execFileSync("systemd-analyze", ["verify", "--man=no", copy], { encoding: "utf8", stdio: "pipe" });
  expect(verify).toBe("");
  const security = execFileSync("systemd-analyze", ["security", "--offline=true", "--no-pager", copy], {
    encoding: "utf8",
  });
  const exposure = Number(/exposure level for byteproxy\.service: ([\d.]+)/.exec(security)?.[1]);
  expect(exposure).toBeLessThanOrEqual(EXPOSURE_LIMIT);
});
