/** Which process is reported as the holder of a port: the same port on another address is no conflict. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { findPortHolder } from "../../src/start/start-failure.ts";

/** Starts a process that listens on a port of the system's choice. */
async function listenElsewhere(host: string) {
  const program = `const s = require("node:net").createServer().listen(0, "${host}", () => console.log(s.address().port))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { port: Number(line.toString()), holder: `node, process ${child.pid}` };
}

test.runIf(process.platform === "linux")(
  "A process that listens on another address of the machine is not reported as the holder",
  async () => {
    const { port, holder } = await listenElsewhere("127.0.0.2");
    expect(findPortHolder(port, "127.0.0.2")).toBe(holder);
    expect(findPortHolder(port, "127.0.0.1")).toBeUndefined();
    expect(findPortHolder(port, "::1")).toBeUndefined();
    // A listener on all addresses conflicts with a listener on any address.
    expect(findPortHolder(port, "0.0.0.0")).toBe(holder);
    expect(findPortHolder(port, "::")).toBe(holder);
  },
);

test.runIf(process.platform === "linux")(
  "A process that listens on all addresses is reported as the holder for each address",
  async () => {
    const { port, holder } = await listenElsewhere("0.0.0.0");
    for (const address of ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1"]) {
      expect(findPortHolder(port, address), address).toBe(holder);
    }
  },
);
