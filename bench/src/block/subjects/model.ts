// What do NVMe model, its driver and the IOMMU cost? One load through two paths, alike but for the disk below the back end.
//
// Both paths have the same front end, ring, back end and idle loops, on threads of their own: while one is measured the
// other sleeps. Grants are in both: they are mapped once and kept, and a request costs a look into a table at each end.
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { makeImage } from '../image.ts';
import { ModelMachine } from '../model/model-machine.ts';
import type { BlockParams } from '../params.ts';

/** Open the subject. */
export async function open(params: BlockParams): Promise<OpenSubject> {
  const image = makeImage();
  const machine = new ModelMachine(image.path, params);
  const direct = await machine.start('direct');
  const modeled = await machine.start('modeled');
  return {
    trial: async (operations): Promise<Trial> => {
      const before = await direct.run(operations);
      const value = await modeled.run(operations);
      return { value, bases: { direct: (before + (await direct.run(operations))) / 2 } };
    },
    close: async () => {
      await machine.close();
      image.remove();
    },
  };
}
