/** A rotation whose change of DATA_DIR takes long or fails. */
import { expect, test } from "vitest";
import { type RotationEnd, StagedRotation } from "../../../src/data-plane/credential/staged-rotation.ts";
import { createStagedRotations } from "../../../src/data-plane/credential/staged-rotations.ts";
import { createRecords } from "../../../src/stores/records.ts";
import type { StoredPromotion } from "../../../src/stores/stored-promotion.ts";
import { eventually } from "../../support/eventually.ts";

const PAIR = { from: "secret-a", to: "secret-b" };
const ORDER = { share: 1, seconds: 0.001, requestId: "1" };

/** `writes` has what ends each write: with an error, it fails. */
function open() {
  const writes: ((error?: Error) => void)[] = [];
  const promotions = createRecords<StoredPromotion>(
    () =>
      new Promise((resolve, reject) => {
        writes.push((error) => (error === undefined ? resolve() : reject(error)));
      }),
  );
  const ends: RotationEnd["outcome"][] = [];
  const onEnd = (_: string, { outcome }: RotationEnd) => ends.push(outcome);
  const rotation = new StagedRotation({ service: "api", pair: PAIR, promotions, onEnd });
  const begin = () => {
    rotation.begin(ORDER, rotation.startProbe());
  };
  const written = (count: number) => eventually(() => writes.length === count, `${count} writes`);
  return { rotation, promotions, writes, written, ends, begin };
}

test("A cancellation while the promotion is being stored is over only when the promotion is removed again", async () => {
  const { rotation, promotions, writes, written, ends, begin } = open();
  begin();
  await written(1);
  let isOver = false;
  const canceled = rotation.cancel().then((outcome) => {
    isOver = true;
    return outcome;
  });
  expect(rotation.stage).toBe("ready");
  writes[0]?.();
  await written(2);
  expect(isOver).toBe(false);
  writes[1]?.();
  expect(await canceled).toBe(true);
  expect([...promotions.entries]).toEqual([]);
  expect(ends).toEqual([]);
});

test("The end of a canceled rotation does not remove the promotion of the next one", async () => {
  const { rotation, promotions, writes, written, ends, begin } = open();
  begin();
  await written(1);
  const canceled = rotation.cancel();
  begin();
  writes[0]?.();
  await written(2);
  writes[1]?.();
  await canceled;
  await written(3);
  writes[2]?.();
  await eventually(() => rotation.stage === "promoted", "the promotion");
  expect([...promotions.entries.values()].map(({ value }) => value)).toEqual([PAIR]);
  expect(ends).toEqual(["promoted"]);
});

test("A promotion that cannot be removed stays in use, and the cancellation can be repeated", async () => {
  const { rotation, writes, written, begin } = open();
  begin();
  await written(1);
  writes[0]?.();
  await eventually(() => rotation.stage === "promoted", "the promotion");
  const failing = rotation.cancel();
  await written(2);
  writes[1]?.(new Error("the disk is full"));
  await expect(failing).rejects.toThrow("the disk is full");
  expect(rotation.stage).toBe("promoted");
  const canceled = rotation.cancel();
  await written(3);
  writes[2]?.();
  expect(await canceled).toBe(true);
  expect(rotation.stage).toBe("ready");
});

test("Requests that began before the secrets changed again keep the promoted one, also at the end of the process", () => {
  const promotions = createRecords<StoredPromotion>(undefined, {
    revision: 1,
    entries: [["api", { version: 1, value: PAIR }]],
  });
  const rotations = createStagedRotations({ promotions, onEnd: () => {} });
  const { rotation, release } = rotations.acquire("api", PAIR);
  expect(rotation.stage).toBe("promoted");
  const following = rotations.acquire("api", { from: PAIR.to, to: "secret-c" });
  expect([rotation.stage, following.rotation.stage]).toEqual(["promoted", "ready"]);
  rotations.close();
  release();
  expect([rotation.stage, following.rotation.stage]).toEqual(["promoted", "over"]);
});
