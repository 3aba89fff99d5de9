/** Whoever has a port is told by its address, too: on another one it is in nobody's way. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { findPortHolder } from "../../src/cli/port-holder.ts";

/** A process of its own that listens, on a port that the system chose. */
async function listenElsewhere(host: string) {
  const program = `const s = require("node:net").createServer().listen(0, "${host}", () => console.log(s.address().port))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { port: Number(line.toString()), holder: `node, process ${child.pid}` };
}

test.runIf(process.platform === "linux")("whoever listens on another address of the machine is not named", async () => {
  const { port, holder } = await listenElsewhere("127.0.0.2");
  expect(findPortHolder(port, "127.0.0.2")).toBe(holder);
  expect(findPortHolder(port, "127.0.0.1")).toBeUndefined();
  expect(findPortHolder(port, "::1")).toBeUndefined();
  // All addresses are wanted: one of them is enough to be in the way.
  expect(findPortHolder(port, "0.0.0.0")).toBe(holder);
  expect(findPortHolder(port, "::")).toBe(holder);
});

test.runIf(process.platform === "linux")("whoever listens on all addresses holds each of them", async () => {
  const { port, holder } = await listenElsewhere("0.0.0.0");
  for (const address of ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1"]) {
    expect(findPortHolder(port, address), address).toBe(holder);
  }
});
