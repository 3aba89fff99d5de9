/** Files that other users of the machine may change. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { findOtherWriter } from "../../src/config/trusted-file.ts";

const uid = process.geteuid?.() ?? 0;

function open(mode: number, folderMode: number) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "byteproxy-trusted-")));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const folder = join(root, "config");
  mkdirSync(folder);
  const file = join(folder, "services.json");
  writeFileSync(file, "{}");
  chmodSync(file, mode);
  chmodSync(folder, folderMode);
  return { root, folder, file };
}

describe("A file that is executed", () => {
  test.each([
    [0o600, 0o700],
    [0o644, 0o755],
    [0o444, 0o755],
    // In a folder such as /tmp, only the owner of a file may replace it.
    [0o600, 0o1777],
  ])("Mode %o in a folder of mode %o is accepted", (mode, folderMode) => {
    expect(findOtherWriter(open(mode, folderMode).file)).toBeUndefined();
  });

  test.each([
    [0o666, 0o700, "file"],
    [0o660, 0o700, "file"],
    [0o602, 0o700, "file"],
    [0o600, 0o777, "folder"],
    [0o600, 0o775, "folder"],
  ])("Mode %o in a folder of mode %o is refused, with the command that ends it", (mode, folderMode, name) => {
    const { file, folder } = open(mode, folderMode);
    const shown = (name === "file" ? mode : folderMode).toString(8).padStart(4, "0");
    expect(findOtherWriter(file)).toBe(
      `the ${name} ${name === "file" ? file : folder} can be written by other users (mode ${shown}); check its content and run chmod go-w on it`,
    );
  });

  test("A symbolic link leads to the file that is checked", () => {
    const { root, file } = open(0o666, 0o700);
    symlinkSync(file, join(root, "link.json"));
    expect(findOtherWriter(join(root, "link.json"))).toContain(`the file ${file} can be written`);
  });

  test("A file of another user is refused, because its owner may change it; one of root is accepted", () => {
    const { file } = open(0o600, 0o755);
    expect(findOtherWriter(file, uid + 1)).toBe(
      uid === 0
        ? undefined
        : `the file ${file} belongs to another user (uid ${uid}, this process has ${uid + 1}); make this user or root its owner (chown)`,
    );
    if (uid !== 0) return;
    chownSync(file, 12_345, 12_345);
    expect(findOtherWriter(file)).toContain("belongs to another user (uid 12345, this process has 0)");
  });
});
