/** What clients, the machine and its operator can do to the gateway. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { askOnce } from "./ask-once.ts";
import type { Fault } from "./fault.ts";
import type { Stage } from "./stage.ts";

const HOUR_MS = 3_600_000;
/** Each of them asks for more than the buffers on the way hold. */
const SLOW_READERS = 40;
/** Enough for the gateway and its load, and little more. */
const OPEN_FILES = 160;
const RESTARTS = 2;

export const gatewayFaults: readonly Fault[] = [
  {
    name: "slow-readers",
    shows: ["served"],
    begin: (stage) => stage.openCrowd(SLOW_READERS, "GET /proxy/hurt/big/0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    end: (stage) => stage.closeCrowd(),
  },
  {
    name: "clock-steps",
    shows: ["served"],
    begin: async ({ gateway }) => {
      for (const offsetMs of [HOUR_MS, -HOUR_MS]) {
        await gateway.throwSwitch({ kind: "clock", offsetMs });
        await delay(200);
      }
    },
    end: async ({ gateway }) => void (await gateway.throwSwitch({ kind: "clock", offsetMs: 0 })),
  },
  {
    // As root nothing is unwritable, but a folder that is a file is.
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
      // What was refused is not there, and can be done now.
      await expectStatus(stage, "GET", "/added", 404);
      await expectStatus(stage, "POST", "", 201);
      await expectStatus(stage, "DELETE", "/added", 204);
    },
  },
  {
    name: "descriptors",
    shows: ["served"],
    mayShow: ["not accepted", "refused:UPSTREAM_UNREACHABLE"],
    strikesGateway: { openFiles: OPEN_FILES },
    begin: async (stage) => {
      stage.openCrowd(2 * OPEN_FILES, "");
      await stage.untilCrowdIsTurnedAway();
      // So that the way to the upstream needs descriptors, too.
      await stage.hurt.behave("closesAfterAnswer");
    },
    end: async (stage) => {
      stage.closeCrowd();
      await stage.hurt.behave("healthy");
    },
  },
  {
    name: "restart",
    shows: ["not accepted"],
    mayShow: ["told 1001"],
    strikesGateway: {},
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
  const { status, text } = await askOnce(gateway.port, method, `/manage/services${path}`, json);
  if (status !== expected) throw new Error(`${method} /manage/services${path}: ${status} for ${expected}: ${text}`);
}
