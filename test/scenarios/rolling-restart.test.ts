/** Two instances behind one TCP balancer, restarted one after the other: the recipe of docs/operations.md. */
import { Agent, request } from "node:http";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { type Run, startProcess } from "../support/process.ts";
import { startTcpBalancer } from "../support/tcp-balancer.ts";
import { startUpstream } from "../support/upstream.ts";

const HEALTH_INTERVAL_MS = 100;
/** Longer than two health checks of the balancer. */
const SHUTDOWN_DELAY_MS = 500;
const CLIENTS = 4;

test("No request fails while two instances are restarted one after the other, twice", async () => {
  const upstream = await startUpstream((req, res) => {
    let upload = "";
    req.on("data", (chunk) => {
      upload += chunk;
    });
    req.on("end", () => res.end(`${req.method} ${req.url} ${upload}`));
  });
  const ports = [await freePort(), await freePort()] as const;
  const runs = new Map(ports.map((port) => [port, startInstance(port, upstream.url)]));
  await Promise.all([...runs.values()].map((run) => run.port()));
  const balancer = await startTcpBalancer(ports, HEALTH_INTERVAL_MS);

  const load = startLoad(balancer.port);
  for (const port of [...ports, ...ports]) {
    const before = load.served;
    const ending = runs.get(port) as Run;
    ending.child.kill("SIGTERM");
    expect(await ending.ended).toBe(0);
    const next = startInstance(port, upstream.url);
    runs.set(port, next);
    await eventually(() => balancer.isReady(port), "the balancer to let it in again", 9_000);
    await eventually(() => load.served > before + CLIENTS, "requests meanwhile");
  }
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(load.served).toBeGreaterThan(100);
}, 30_000);

/** With its own DATA_DIR, because two processes must not share one. */
function startInstance(port: number, upstreamUrl: string): Run {
  const services = JSON.stringify({ services: { api: { baseUrl: upstreamUrl } } });
  const env = { PORT: String(port), SHUTDOWN_DELAY: String(SHUTDOWN_DELAY_MS), CONFIG_FILE: "services.json" };
  return startProcess(env, [], { "services.json": services });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Clients with keep-alive connections: each sends its next request, GET or POST, when it has the response. */
function startLoad(port: number) {
  const agent = new Agent({ keepAlive: true });
  const failures: unknown[] = [];
  let served = 0;
  let isOver = false;
  const work = async (client: number) => {
    for (let i = 0; !isOver; i++) {
      const method = i % 2 === 0 ? "GET" : "POST";
      const path = `/${client}/${i}`;
      const upload = method === "POST" ? "upload ".repeat(100) : "";
      try {
        const { status, text } = await ask({ agent, port, method, path: `/proxy/api${path}`, upload });
        if (status === 200 && text === `${method} ${path} ${upload}`) served++;
        else failures.push({ status, text });
      } catch (error) {
        failures.push(error);
      }
      // Leaves CPU time for the processes that start.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const workers = Array.from({ length: CLIENTS }, (_, client) => work(client));
  return {
    failures,
    get served() {
      return served;
    },
    async stop() {
      isOver = true;
      await Promise.all(workers);
      agent.destroy();
    },
  };
}

interface Question {
  readonly agent: Agent;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly upload: string;
}

function ask({ upload, ...options }: Question): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ host: "127.0.0.1", ...options }, (res) => {
      let text = "";
      res.on("data", (chunk) => {
        text += chunk;
      });
      res.on("end", () => resolve({ status: res.statusCode, text }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end(upload);
  });
}
