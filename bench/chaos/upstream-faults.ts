/** Faults of an upstream. A new one is an entry here and, if needed, a behaviour in behaviours.ts. */
import type { BehaviourName } from "./behaviours.ts";
import type { Fault } from "./fault.ts";
import type { Outcome } from "./tally.ts";

const UNREACHABLE = "refused:UPSTREAM_UNREACHABLE";
const MALFORMED = "refused:UPSTREAM_PROTOCOL_ERROR";
const TIMEOUT = "refused:UPSTREAM_TIMEOUT";

export const upstreamFaults: readonly Fault[] = [
  {
    name: "killed",
    shows: [UNREACHABLE],
    mayShow: ["cut"],
    begin: ({ affected }) => affected.kill(),
    end: ({ affected }) => affected.start(),
  },
  {
    name: "frozen",
    shows: [TIMEOUT],
    // An open WebSocket was silent for its `idleTimeoutMs`.
    mayShow: ["cut", "closed with 1001"],
    begin: ({ affected }) => affected.freeze(),
    end: ({ affected }) => affected.thaw(),
  },
  behaving("late", "respondsLate", [TIMEOUT]),
  // Slower than the deadline for the headers, but never silent for long.
  behaving("trickling", "trickles", ["served"]),
  behaving("reset-on-accept", "resetsOnAccept", [UNREACHABLE]),
  behaving("reset-after-head", "resetsAfterHead", ["cut"], [UNREACHABLE]),
  behaving("reset-without-length", "resetsUnframedBody", ["cut"], [UNREACHABLE]),
  behaving("garbage", "sendsGarbage", [MALFORMED]),
  behaving("cut-in-head", "endsInHead", [UNREACHABLE]),
  behaving("cut-in-length", "endsInLength", ["cut"], [UNREACHABLE]),
  behaving("cut-in-chunks", "endsInChunks", ["cut"], [UNREACHABLE]),
  // A POST may be in transit when the connection closes, and must not be sent twice.
  behaving("closing", "closesAfterResponse", ["served"], [UNREACHABLE]),
  behaving("unavailable", "unavailable", ["relayed:503"], [UNREACHABLE]),
  {
    name: "name-gone",
    shows: [UNREACHABLE],
    begin: async ({ gateway, affected }) => {
      await gateway.setSwitch({ kind: "dns", fails: true });
      // The name is resolved for each new connection.
      await affected.behave("closesAfterResponse");
    },
    end: async ({ gateway, affected }) => {
      await affected.behave("healthy");
      await gateway.setSwitch({ kind: "dns", fails: false });
    },
  },
];

/** A fault that consists of a behaviour only. */
function behaving(
  name: string,
  behaviour: BehaviourName,
  shows: readonly Outcome[],
  mayShow: readonly Outcome[] = [],
): Fault {
  return {
    name,
    shows,
    mayShow,
    begin: ({ affected }) => affected.behave(behaviour),
    end: ({ affected }) => affected.behave("healthy"),
  };
}
