// Models for the farm: one base, and clones of it that were fine-tuned: a few of their tensors differ.
import { randomFillSync } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { encodeHeader } from './format.mjs'

const TENSORS = 32

/**
 * Writes `clones` models of about `bytes` each into `directory`, in `changed` tensors of which they differ. Returns their paths. They are reflink clones where the file system has them.
 *
 * @param {string} directory @param {{ clones: number, bytes: number, changed: number }} options
 */
export function makeModels(directory, { clones, bytes, changed }) {
  const columns = 1024
  const rows = Math.max(1, Math.round(bytes / TENSORS / columns / 4))
  const tensors = Array.from({ length: TENSORS }, (_, i) => ({
    name: `layers.${i}.weight`,
    dtype: /** @type {const} */ ('F32'),
    shape: [rows, columns],
  }))
  const header = encodeHeader(tensors, { format: 'pt' })
  const tensorBytes = rows * columns * 4
  const base = path.join(directory, 'base.safetensors')
  const fd = fs.openSync(base, 'w')
  fs.writeSync(fd, header)
  for (let i = 0; i < TENSORS; i++) fs.writeSync(fd, weights(tensorBytes))
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  return Array.from({ length: clones }, (_, i) => {
    const model = path.join(directory, `tuned-${i}.safetensors`)
    fs.copyFileSync(base, model, fs.constants.COPYFILE_FICLONE)
    const fd = fs.openSync(model, 'r+')
    for (let k = 0; k < changed; k++)
      fs.writeSync(fd, weights(tensorBytes), 0, tensorBytes, header.length + ((i * 7 + k * 5) % TENSORS) * tensorBytes)
    fs.fsyncSync(fd)
    fs.closeSync(fd)
    return model
  })
}

/** @param {number} bytes */
function weights(bytes) {
  return randomFillSync(Buffer.allocUnsafe(bytes))
}
