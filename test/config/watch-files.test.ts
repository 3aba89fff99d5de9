/** Watching files: no change is lost, not even one that is made while the watch begins. Real files, looked at every few ms. */
import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { watchFiles } from "../../src/config/watch-files.ts";
import { eventually } from "../support/eventually.ts";
import { tempFolder } from "./temp-folder.ts";

const INTERVAL_MS = 40;

function watch() {
  let told = 0;
  const files = watchFiles(INTERVAL_MS, () => {
    told++;
  });
  onTestFinished(() => files.close());
  return { files, told: () => told };
}

/** So long ago that everything was written since. */
const BEFORE_ALL = 0;
/** For files that nobody has written since. */
const later = () => Date.now() + 60_000;

test("what was written between its reading and the watch is told", async () => {
  const path = join(tempFolder(), "token");
  const readAt = Date.now();
  writeFileSync(path, "second");
  const { files, told } = watch();
  files.setPaths([path], readAt);
  await eventually(() => told() === 1, "the change to be told");
});

test("what is written in the moment in which the watch begins is told", async () => {
  for (let i = 0; i < 10; i++) {
    const path = join(tempFolder(), "token");
    writeFileSync(path, "first");
    const { files, told } = watch();
    files.setPaths([path], later());
    writeFileSync(path, "second");
    await eventually(() => told() === 1, "the change to be told");
  }
});

test("what is written later is told once, and what changed together is told together", async () => {
  const folder = tempFolder();
  const paths = ["a", "b"].map((name) => join(folder, name));
  for (const path of paths) writeFileSync(path, "first");
  const { files, told } = watch();
  files.setPaths(paths, later());
  for (const path of paths) writeFileSync(path, "second");
  await eventually(() => told() === 1, "the changes to be told");
  writeFileSync(paths[0] as string, "third");
  await eventually(() => told() === 2, "the next one to be told");
});

test("a link that is swapped is told, and so is a file that appears or goes", async () => {
  const folder = tempFolder();
  for (const name of ["v1", "v2"]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "token"), name);
  }
  symlinkSync("v1", join(folder, "data"));
  const { files, told } = watch();
  files.setPaths([join(folder, "data", "token"), join(folder, "absent")], later());
  symlinkSync("v2", join(folder, "next"));
  renameSync(join(folder, "next"), join(folder, "data"));
  await eventually(() => told() === 1, "the swap to be told");
  writeFileSync(join(folder, "absent"), "here");
  await eventually(() => told() === 2, "the new file to be told");
  renameSync(join(folder, "absent"), join(folder, "gone"));
  await eventually(() => told() === 3, "its end to be told");
});

test("what only gets another date, or is no longer watched, is not told", async () => {
  const folder = tempFolder();
  const [touched, dropped, changed] = ["touched", "dropped", "changed"].map((name) => join(folder, name));
  for (const path of [touched, dropped, changed]) writeFileSync(path as string, "first");
  const { files, told } = watch();
  files.setPaths([touched as string, dropped as string, changed as string], later());
  files.setPaths([touched as string, changed as string], BEFORE_ALL);
  utimesSync(touched as string, 1, 1);
  writeFileSync(dropped as string, "second");
  // Long enough for two looks: what is told then is told of the third file alone.
  await new Promise((resolve) => setTimeout(resolve, 3 * INTERVAL_MS));
  expect(told()).toBe(0);
  writeFileSync(changed as string, "second");
  await eventually(() => told() === 1, "the change to be told");
});
