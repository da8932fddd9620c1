package reprise

import java.io.{ByteArrayOutputStream, FileNotFoundException, IOException}
import java.lang.{Boolean => JavaBoolean}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.FileAlreadyExistsException
import java.util.{Arrays, Iterator => JavaIterator}

import io.delta.storage.HadoopFileSystemLogStore
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}

/** Commits of Delta tables on S3, each by one conditional write (If-None-Match): of two writers of one version, in
  * whatever processes and on whatever machines, one succeeds and the other is told that the file exists.
  *
  * Delta's own store for S3 keeps its locks in the memory of one driver. A request that is sent again after its answer was
  * lost is refused although it was carried out; so what lies in the store decides, whatever it answered: no two commits
  * have the same bytes, since each has an id of its own.
  */
class S3LogStore(initial: Configuration) extends HadoopFileSystemLogStore(initial) {

  override def write(
      path: Path, actions: JavaIterator[String], overwrite: JavaBoolean, configuration: Configuration): Unit = {
    val content = new ByteArrayOutputStream()
    while (actions.hasNext) content.write((actions.next() + "\n").getBytes(UTF_8))
    val system = path.getFileSystem(configuration)
    if (overwrite) put(system, path, content.toByteArray, conditional = false)
    else
      try put(system, path, content.toByteArray, conditional = true)
      catch {
        case problem: IOException =>
          stored(system, path) match {
            case Some(there) if Arrays.equals(there, content.toByteArray) =>
            case Some(_) => throw new FileAlreadyExistsException(path.toString)
            case None => throw problem
          }
      }
  }

  private def put(system: FileSystem, path: Path, content: Array[Byte], conditional: Boolean): Unit = {
    val builder = system.createFile(path).recursive().overwrite(true)
    // Where the file system knows no such option, nothing is written.
    if (conditional) builder.must("fs.option.create.conditional.overwrite", true)
    val stream = builder.build()
    stream.write(content)
    stream.close()
  }

  private def stored(system: FileSystem, path: Path): Option[Array[Byte]] =
    try {
      val stream = system.open(path)
      try Some(stream.readAllBytes())
      finally stream.close()
    } catch { case _: FileNotFoundException => None }

  override def isPartialWriteVisible(path: Path, configuration: Configuration): JavaBoolean = false
}
