/**
 * Loaded into the gateway's process before its own code (`--import`): faults of the machine that cannot be caused from outside.
 * Invariant: until a switch is set, the process behaves as usual, except that it reports its heap.
 */
import dns, { type LookupOptions } from "node:dns";
import { syncBuiltinESMExports } from "node:module";
import { TEST_NAME } from "./test-name.ts";

export type SwitchOrder =
  | { readonly kind: "clock"; readonly offsetMs: number }
  | { readonly kind: "dns"; readonly fails: boolean }
  | { readonly kind: "heap" };
export interface SwitchReport {
  /** Bytes in use; after a garbage collection if the process has --expose-gc. */
  readonly heapUsed: number;
}

type LookupCallback = (error: NodeJS.ErrnoException | null, ...found: unknown[]) => void;
type Lookup = (hostname: string, options: LookupOptions, callback: LookupCallback) => void;

let clockOffsetMs = 0;
let dnsFails = false;

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args: [] | [number]) {
    if (args.length === 0) super(RealDate.now() + clockOffsetMs);
    else super(...args);
  }
  static override now(): number {
    return RealDate.now() + clockOffsetMs;
  }
} as DateConstructor;

const realLookup = dns.lookup as unknown as Lookup;
const lookup: Lookup = (hostname, options, callback) => {
  if (hostname !== TEST_NAME) return realLookup(hostname, options, callback);
  if (!dnsFails) return realLookup("127.0.0.1", options, callback);
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: "ENOTFOUND", hostname });
  process.nextTick(callback, error);
};
Object.assign(dns, { lookup });
syncBuiltinESMExports();

process.on("message", (order: SwitchOrder) => {
  if (order.kind === "clock") clockOffsetMs = order.offsetMs;
  else if (order.kind === "dns") dnsFails = order.fails;
  else globalThis.gc?.();
  const report: SwitchReport = { heapUsed: process.memoryUsage().heapUsed };
  process.send!(report);
});
// The channel does not keep the gateway alive; the gateway ends with the test.
process.channel!.unref();
process.once("disconnect", () => process.exit(1));
