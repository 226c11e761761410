// Reads what to do from standard input, as JSON, and does it with the AWS SDK for JavaScript alone.
// Its credentials come by the environment, as an agent's do.
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3'

const task = JSON.parse(await text(process.stdin))
const s3 = new S3Client({ endpoint: task.endpoint, region: task.region, forcePathStyle: true, maxAttempts: 1 })
const keys = new Set()
let calls = 0

do {
  const got = await s3.send(new GetObjectCommand({ Bucket: task.bucket, Key: task.key }))
  const body = await got.Body.transformToString()
  if (body !== task.key) throw new Error(`the object holds ${body}`)
  keys.add((await s3.config.credentials()).accessKeyId)
  calls++
  await sleep(100)
} while (keys.size < task.sessions)

await s3.send(new ListObjectsV2Command({ Bucket: task.bucket, Prefix: task.prefix }))
const refused = await s3.send(new GetObjectCommand({ Bucket: task.bucket, Key: task.refused })).then(() => null, (e) => e)
if (refused?.$metadata?.httpStatusCode !== 403) throw new Error(`${task.refused} was not refused: ${refused}`)
console.log(JSON.stringify({ calls, sessions: keys.size }))
