/** What an upstream can do to us: another one is an entry here, and a behaviour in behaviours.ts where it needs a new one. */
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
    begin: ({ hurt }) => hurt.kill(),
    end: ({ hurt }) => hurt.start(),
  },
  {
    name: "frozen",
    shows: [TIMEOUT],
    // A WebSocket that was open has been silent for its `idleTimeoutMs`.
    mayShow: ["cut", "told 1001"],
    begin: ({ hurt }) => hurt.freeze(),
    end: ({ hurt }) => hurt.thaw(),
  },
  behaving("late", "answersLate", [TIMEOUT]),
  // Slower than the deadline for the headers, but never silent.
  behaving("trickling", "trickles", ["served"]),
  behaving("reset-on-accept", "resetsOnAccept", [UNREACHABLE]),
  behaving("reset-after-head", "resetsAfterHead", ["cut"], [UNREACHABLE]),
  behaving("reset-without-length", "resetsUnframedBody", ["cut"], [UNREACHABLE]),
  behaving("garbage", "speaksGarbage", [MALFORMED]),
  behaving("cut-in-head", "endsInHead", [UNREACHABLE]),
  behaving("cut-in-length", "endsInLength", ["cut"], [UNREACHABLE]),
  behaving("cut-in-chunks", "endsInChunks", ["cut"], [UNREACHABLE]),
  // A POST may be on its way when the connection closes, and must not go twice.
  behaving("closing", "closesAfterAnswer", ["served"], [UNREACHABLE]),
  behaving("unavailable", "unavailable", ["relayed:503"], [UNREACHABLE]),
  {
    name: "name-gone",
    shows: [UNREACHABLE],
    begin: async ({ gateway, hurt }) => {
      await gateway.throwSwitch({ kind: "dns", fails: true });
      // A name is asked for with each new connection.
      await hurt.behave("closesAfterAnswer");
    },
    end: async ({ gateway, hurt }) => {
      await hurt.behave("healthy");
      await gateway.throwSwitch({ kind: "dns", fails: false });
    },
  },
];

/** A fault that is nothing but a behaviour. */
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
    begin: ({ hurt }) => hurt.behave(behaviour),
    end: ({ hurt }) => hurt.behave("healthy"),
  };
}
