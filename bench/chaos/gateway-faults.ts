/** Faults caused by clients, by the machine and by its operator. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { callGateway } from "./call-gateway.ts";
import type { Fault } from "./fault.ts";
import type { Stage } from "./stage.ts";

const HOUR_MS = 3_600_000;
/** Each of them requests more than the buffers in between hold. */
const SLOW_READERS = 40;
/** Little more than the gateway and its load need: at its start Node reads some 200 modules at the same time. */
const OPEN_FILES = 320;
const RESTARTS = 2;

export const gatewayFaults: readonly Fault[] = [
  {
    name: "slow-readers",
    shows: ["served"],
    begin: (stage) => stage.openCrowd(SLOW_READERS, "GET /proxy/affected/big/0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    end: (stage) => stage.closeCrowd(),
  },
  {
    name: "clock-steps",
    shows: ["served"],
    begin: async ({ gateway }) => {
      for (const offsetMs of [HOUR_MS, -HOUR_MS]) {
        await gateway.setSwitch({ kind: "clock", offsetMs });
        await delay(200);
      }
    },
    end: async ({ gateway }) => void (await gateway.setSwitch({ kind: "clock", offsetMs: 0 })),
  },
  {
    // Root may write everywhere, so the folder is replaced by a file.
    name: "data-dir-gone",
    shows: ["served"],
    begin: async (stage) => {
      const { dataDir } = stage.gateway;
      renameSync(dataDir, `${dataDir}.away`);
      writeFileSync(dataDir, "");
      await expectStatus(stage, "POST", "", 500);
    },
    end: async (stage) => {
      const { dataDir } = stage.gateway;
      rmSync(dataDir);
      renameSync(`${dataDir}.away`, dataDir);
      // The refused change left nothing, and succeeds now.
      await expectStatus(stage, "GET", "/added", 404);
      await expectStatus(stage, "POST", "", 201);
      await expectStatus(stage, "DELETE", "/added", 204);
    },
  },
  {
    name: "descriptors",
    shows: ["served"],
    mayShow: ["not accepted", "refused:UPSTREAM_UNREACHABLE"],
    affectsGateway: { openFiles: OPEN_FILES },
    begin: async (stage) => {
      stage.openCrowd(2 * OPEN_FILES, "");
      await stage.untilSomeAreRefused();
      // So that each request to the upstream needs a new descriptor, too.
      await stage.affected.behave("closesAfterResponse");
    },
    end: async (stage) => {
      stage.closeCrowd();
      await stage.affected.behave("healthy");
    },
  },
  {
    name: "restart",
    shows: ["not accepted"],
    mayShow: ["closed with 1001"],
    affectsGateway: {},
    begin: async ({ gateway }) => {
      for (let i = 0; i < RESTARTS; i++) {
        await gateway.end();
        await gateway.start();
      }
    },
    end: () => {},
  },
];

async function expectStatus({ gateway }: Stage, method: string, path: string, expected: number): Promise<void> {
  const json = method === "POST" ? { key: "added", config: { baseUrl: "https://api.example.com" } } : undefined;
  const { status, text } = await callGateway(gateway.port, method, `/manage/services${path}`, json);
  if (status !== expected)
    throw new Error(`${method} /manage/services${path}: expected ${expected}, got ${status}: ${text}`);
}
