/** Measurements beyond requests: big bodies, open streams, start-up. Of ByteProxy only, each on a new gateway process. */
import { type BigBody, measureDownload, measureUpload } from "./big-bodies.ts";
import { type ChunkedBodyMemory, measureChunks } from "./chunked-responses.ts";
import { API_KEY, type RunningGateway, startGateway } from "./gateway.ts";
import { type Processes, stop } from "./processes.ts";
import { EVENT_STREAMS, measureSilent, type SilentConnections, WEBSOCKETS } from "./silent-connections.ts";
import type { Origin } from "./start-origin.ts";
import { type Spread, spreadOf } from "./statistics.ts";

const STARTS = 5;
const FIRST_REQUESTS = 500;

export interface Extras {
  readonly upload: BigBody;
  readonly download: BigBody;
  /** The same response in tiny and in ordinary chunks. */
  readonly chunked: readonly ChunkedBodyMemory[];
  readonly silent: readonly SilentConnections[];
  /** From spawning node to the first 200 of /health, ms. */
  readonly startUpMs: Spread;
}

export async function measureExtras(processes: Processes, root: string, origin: Origin): Promise<Extras> {
  const onFresh = async <T>(what: string, measureOn: (gateway: RunningGateway) => Promise<T>): Promise<T> => {
    process.stderr.write(`${what}\n`);
    const gateway = await startGateway(processes, root, origin);
    await firstRequests(gateway);
    const result = await measureOn(gateway);
    await stop(gateway.child);
    return result;
  };
  return {
    upload: await onFresh("1 GiB upload", measureUpload),
    download: await onFresh("1 GiB download", measureDownload),
    chunked: [
      await onFresh("16 MiB in chunks of 1 byte", (gateway) => measureChunks(gateway, 1)),
      await onFresh("16 MiB in chunks of 64 KiB", (gateway) => measureChunks(gateway, 64 * 1024)),
    ],
    silent: [
      await onFresh(EVENT_STREAMS.name, (gateway) => measureSilent(EVENT_STREAMS, gateway, origin.port)),
      await onFresh(WEBSOCKETS.name, (gateway) => measureSilent(WEBSOCKETS, gateway, origin.port)),
    ],
    startUpMs: await measureStartUp(processes, root, origin),
  };
}

/** Makes the gateway load and compile what a request needs, so that its idle memory is realistic. */
async function firstRequests(gateway: RunningGateway): Promise<void> {
  for (let i = 0; i < FIRST_REQUESTS; i++) {
    const response = await fetch(`http://127.0.0.1:${gateway.port}/proxy/origin/items/42?x=1`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`the gateway responded with ${response.status}`);
  }
}

async function measureStartUp(processes: Processes, root: string, origin: Origin): Promise<Spread> {
  process.stderr.write("start-up\n");
  const times: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const started = performance.now();
    const gateway = await startGateway(processes, root, origin);
    times.push(performance.now() - started);
    await stop(gateway.child);
  }
  return spreadOf(times);
}
