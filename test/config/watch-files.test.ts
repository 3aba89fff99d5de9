/** Watching files: no change is lost, not even one while the watch begins. With real files and an interval of a few ms. */
import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { watchFiles } from "../../src/config/watch-files.ts";
import { eventually } from "../support/eventually.ts";
import { tempFolder } from "./temp-folder.ts";

const INTERVAL_MS = 40;

function watch() {
  let reports = 0;
  const files = watchFiles(INTERVAL_MS, () => {
    reports++;
  });
  onTestFinished(() => files.close());
  return { files, reports: () => reports };
}

/** A time before all files were written. */
const BEFORE_ALL = 0;
/** A time after all files were written. */
const later = () => Date.now() + 60_000;

test("A write between the reading of a file and its watch is reported", async () => {
  const path = join(tempFolder(), "token");
  const readAt = Date.now();
  writeFileSync(path, "second");
  const { files, reports } = watch();
  files.setPaths([path], readAt);
  await eventually(() => reports() === 1, "the change to be reported");
});

test("A write at the moment in which the watch begins is reported", async () => {
  for (let i = 0; i < 10; i++) {
    const path = join(tempFolder(), "token");
    writeFileSync(path, "first");
    const { files, reports } = watch();
    files.setPaths([path], later());
    writeFileSync(path, "second");
    await eventually(() => reports() === 1, "the change to be reported");
  }
});

test("A later write is reported once, and simultaneous changes are reported together", async () => {
  const folder = tempFolder();
  const paths = ["a", "b"].map((name) => join(folder, name));
  for (const path of paths) writeFileSync(path, "first");
  const { files, reports } = watch();
  files.setPaths(paths, later());
  for (const path of paths) writeFileSync(path, "second");
  await eventually(() => reports() === 1, "the changes to be reported");
  writeFileSync(paths[0] as string, "third");
  await eventually(() => reports() === 2, "the next one to be reported");
});

test("A replaced symbolic link, a new file and a removed file are reported", async () => {
  const folder = tempFolder();
  for (const name of ["v1", "v2"]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "token"), name);
  }
  symlinkSync("v1", join(folder, "data"));
  const { files, reports } = watch();
  files.setPaths([join(folder, "data", "token"), join(folder, "absent")], later());
  symlinkSync("v2", join(folder, "next"));
  renameSync(join(folder, "next"), join(folder, "data"));
  await eventually(() => reports() === 1, "the swap to be reported");
  writeFileSync(join(folder, "absent"), "here");
  await eventually(() => reports() === 2, "the new file to be reported");
  renameSync(join(folder, "absent"), join(folder, "gone"));
  await eventually(() => reports() === 3, "its end to be reported");
});

test("A new timestamp without a new content, or a file that is no longer watched, is not reported", async () => {
  const folder = tempFolder();
  const [touched, dropped, changed] = ["touched", "dropped", "changed"].map((name) => join(folder, name));
  for (const path of [touched, dropped, changed]) writeFileSync(path as string, "first");
  const { files, reports } = watch();
  files.setPaths([touched as string, dropped as string, changed as string], later());
  files.setPaths([touched as string, changed as string], BEFORE_ALL);
  utimesSync(touched as string, 1, 1);
  writeFileSync(dropped as string, "second");
  // Long enough for two intervals: the only report is that of the third file.
  await new Promise((resolve) => setTimeout(resolve, 3 * INTERVAL_MS));
  expect(reports()).toBe(0);
  writeFileSync(changed as string, "second");
  await eventually(() => reports() === 1, "the change to be reported");
});
