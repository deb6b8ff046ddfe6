//! What a stream that stands before another one leaves to that.

/// These methods of `AsyncRead` and `AsyncWrite`, each of which does nothing but call the same of the stream in a field.
macro_rules! forward {
    ($field:tt: $($method:ident),+) => {
        $($crate::transport::forward!(@ $field $method);)+
    };
    (@ $field:tt poll_read) => {
        $crate::transport::forward!(@poll $field poll_read(buffer: &mut ::tokio::io::ReadBuf<'_>) -> ());
    };
    (@ $field:tt poll_write) => {
        $crate::transport::forward!(@poll $field poll_write(bytes: &[u8]) -> usize);
    };
    (@ $field:tt poll_write_vectored) => {
        $crate::transport::forward!(@poll $field poll_write_vectored(slices: &[::std::io::IoSlice<'_>]) -> usize);
    };
    (@ $field:tt poll_flush) => {
        $crate::transport::forward!(@poll $field poll_flush() -> ());
    };
    (@ $field:tt poll_shutdown) => {
        $crate::transport::forward!(@poll $field poll_shutdown() -> ());
    };
    (@ $field:tt is_write_vectored) => {
        fn is_write_vectored(&self) -> bool {
            self.$field.is_write_vectored()
        }
    };
    (@poll $field:tt $method:ident($($argument:ident: $kind:ty)?) -> $done:ty) => {
        fn $method(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            $($argument: $kind)?
        ) -> ::std::task::Poll<::std::io::Result<$done>> {
            ::std::pin::Pin::new(&mut self.$field).$method(cx, $($argument)?)
        }
    };
}

pub(crate) use forward;
